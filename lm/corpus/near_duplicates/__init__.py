"""Near-duplicate pairs: band keys propose, shingle sets decide, a policy says who goes.

A pair is stored only with its exact Jaccard similarity, so a threshold is a query and no document goes because a chain of others links it
to one it does not resemble. `proposing` compares the new documents with each other and with all earlier ones, `verifying` counts the
shingles they share, both out of files cut into partitions, so that memory stays flat as documents grow. `policy` decides on stored pairs.
Nothing is imported here: another policy must not make the lake compare again.
"""
