"""Gradient boosting of small trees, for training the model of extraction: logistic loss, second order, histograms of 64 bins.

After Friedman (2001) and the regularised gain of Chen and Guestrin (arXiv:1603.02754). Rows are sampled by page, not one by one,
because blocks of a page resemble each other. All trees have one depth, so a forest is three arrays. Pure numpy and one compiled search
for splits: some thousand rows and a hundred columns take a tenth of a second per tree, and no learning library is needed for a model of
this size.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lm.corpus.extraction.forest import DEPTH, Forest

Array = NDArray[Any]
_NUM_BINS = 64
_NEVER = np.float32(3e38)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """How a forest is grown."""

    num_trees: int = 120
    rate: float = 0.1
    """Share of each tree's correction that is taken."""
    penalty: float = 1.0
    """Added to the curvature of a leaf."""
    min_curvature: float = 1.0
    """Least curvature of a leaf, in rows of mean weight at even odds times 4."""
    column_share: float = 0.4
    page_share: float = 0.7
    seed: int = 0


def grow(x: Array, targets: Array, weights: Array, pages: Array, how: Boosting) -> Forest:
    """A forest for targets in [0, 1] (row,), from features (row, column); `pages` is the number of each row's page."""
    rng = np.random.default_rng(how.seed)
    edges, bins = _binned(x)
    weights = weights / weights.mean()
    base = float(np.log((weights * targets).sum() / (weights * (1 - targets)).sum()))
    scores, trees = np.full(len(x), base), []
    names = np.unique(pages)
    for _ in range(how.num_trees):
        odds = 1 / (1 + np.exp(-scores))
        slopes, curvatures = weights * (targets - odds), np.maximum(weights * odds * (1 - odds), 1e-6)
        chosen = np.isin(pages, rng.choice(names, max(1, int(len(names) * how.page_share)), replace=False))
        columns = np.sort(rng.choice(x.shape[1], int(x.shape[1] * how.column_share), replace=False))
        tree = _Tree(bins, edges, slopes, curvatures, columns, how)
        tree.split(0, np.flatnonzero(chosen), 0.0)
        trees.append(tree)
        scores += predict(Forest(tree.features[None], tree.thresholds[None], tree.leaves[None], 0.0), x)
    return Forest(np.stack([t.features for t in trees]), np.stack([t.thresholds for t in trees]), np.stack([t.leaves for t in trees]), base)


def predict(forest: Forest, x: Array) -> Array:
    """Log odds per row."""
    scores = np.full(len(x), forest.base)
    num_nodes, rows = forest.features.shape[1], np.arange(len(x))
    for features, thresholds, leaves in zip(forest.features, forest.thresholds, forest.leaves, strict=True):
        nodes = np.zeros(len(x), np.int64)
        while nodes.size and nodes[0] < num_nodes:
            nodes = 2 * nodes + 1 + (x[rows, features[nodes]] > thresholds[nodes])
        scores += leaves[nodes - num_nodes]
    return scores


def _binned(x: Array) -> tuple[list[Array], Array]:
    """Upper edges of each column's bins, and the bin of each value, uint8 (column, row)."""
    quantiles = np.linspace(0, 1, _NUM_BINS + 1)[1:-1]
    edges = [np.unique(np.quantile(column, quantiles, method="lower").astype(np.float32)) for column in x.T]
    return edges, np.stack([np.searchsorted(edge, column, side="left") for edge, column in zip(edges, x.T, strict=True)]).astype(np.uint8)


class _Tree:
    """One tree while it grows."""

    def __init__(self, bins: Array, edges: list[Array], slopes: Array, curvatures: Array, columns: Array, how: Boosting) -> None:
        self._bins, self._edges, self._slopes, self._curvatures, self._columns, self._how = bins, edges, slopes, curvatures, columns, how
        num_nodes = (1 << DEPTH) - 1
        self.features, self.thresholds = np.zeros(num_nodes, np.int32), np.full(num_nodes, _NEVER, np.float32)
        self.leaves = np.zeros(num_nodes + 1, np.float32)

    def split(self, node: int, rows: Array, value: float) -> None:
        """Split these rows at a node; rows that no split improves all go to its first leaf."""
        if node >= len(self.features):
            self.leaves[node - len(self.features)] = value
            return
        how = self._how
        column, bin_ = _best_split(self._bins, self._slopes, self._curvatures, rows, self._columns, how.penalty, how.min_curvature)
        if column < 0:
            self.split(2 * node + 1, rows, value)
            self.split(2 * node + 2, rows[:0], value)
            return
        self.features[node], self.thresholds[node] = column, self._edges[column][bin_]
        is_low = self._bins[column, rows] <= bin_
        for child, part in ((2 * node + 1, rows[is_low]), (2 * node + 2, rows[~is_low])):
            self.split(child, part, how.rate * self._slopes[part].sum() / (self._curvatures[part].sum() + how.penalty))


@njit(cache=True)
def _best_split(
    bins: Array, slopes: Array, curvatures: Array, rows: Array, columns: Array, penalty: float, min_curvature: float
) -> tuple[int, int]:
    """Column and bin with the highest gain; (-1, -1) if there is none."""
    slope, curvature = 0.0, 0.0
    for row in rows:
        slope += slopes[row]
        curvature += curvatures[row]
    best, best_column, best_bin = slope * slope / (curvature + penalty), -1, -1
    for column in columns:
        by_slope, by_curvature = np.zeros(_NUM_BINS), np.zeros(_NUM_BINS)
        for row in rows:
            by_slope[bins[column, row]] += slopes[row]
            by_curvature[bins[column, row]] += curvatures[row]
        low_slope, low_curvature = 0.0, 0.0
        for bin_ in range(_NUM_BINS - 1):
            low_slope += by_slope[bin_]
            low_curvature += by_curvature[bin_]
            rest = curvature - low_curvature
            if low_curvature < min_curvature:
                continue
            if rest < min_curvature:
                break
            gain = low_slope * low_slope / (low_curvature + penalty) + (slope - low_slope) * (slope - low_slope) / (rest + penalty)
            if gain > best:
                best, best_column, best_bin = gain, column, bin_
    return best_column, best_bin
