"""Contamination: which documents hold text of evaluation sets, and which items of a set are known to the data.

`items` reads evaluation sets, `index` turns them into stretches of words, `scanning` finds these in documents in one pass, `planting`
measures how well that goes on text whose truth is known, and `verdict` decides what counts, as SQL over the lake. A hit is kept with its
place and its text, so that a person can judge it; nothing here removes anything. Nothing is imported here either: another verdict must
not make the lake scan again.
"""
