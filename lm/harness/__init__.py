"""lm-evaluation-harness over our models: `adapter` is the model it sees, `tasks` the tasks it gets, `run` one evaluation.

Apart from `lm/evaluation`, because it needs the package lm-eval (an extra of its own) and a tokenizer; scoring of our own needs neither.
"""
