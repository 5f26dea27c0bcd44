"""Measurements of trained weights on held-out text."""

from lm.evaluation.loss import evaluate

__all__ = ["evaluate"]
