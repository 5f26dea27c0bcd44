"""Measurements of trained weights: on held-out text, and on evaluation sets by likelihood.

`loss` reads validation documents; `tasks` scores evaluation sets, through `requests` (tokens) and `likelihood` (the model); `aggregate`
makes metrics of items, `compare` sets two runs side by side, `formats` knows how published sets look. Nothing is imported here, so that
whoever reads a file of items need not wait for torch.
"""
