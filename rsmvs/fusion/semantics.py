"""One class per point or cell from those of several views: a majority vote (Huang et al., TGRS 2025, section III-D)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsmvs.geometry.warp import WarpField
from rsmvs.types import F32


class Vote(NamedTuple):
    """label: index of the class, -1 without votes. votes: how many views voted. margin: share of the votes of the label
    less that of the next class, 0 where it was a tie, NaN without votes."""

    label: NDArray[np.int8]
    votes: NDArray[np.uint8]
    margin: F32


class ClassVote:
    """Every view votes for its most probable class; order of feeding does not matter.

    Ties: the larger sum of probabilities, then the order of the classes. Memory does not grow with the views.
    """

    def __init__(self, n_classes: int, shape: tuple[int, ...]) -> None:
        self.votes = np.zeros((n_classes, *shape), np.uint8)
        self.sums = np.zeros((n_classes, *shape), np.float64)

    def feed(self, probabilities: F32, supports: NDArray[np.bool_]) -> None:
        """probabilities: (c, *shape) of one view, NaN where it has none. supports: (*shape) where its vote counts."""
        counts = supports & np.isfinite(probabilities).all(0)
        p = np.where(counts, probabilities, 0)
        label = p.argmax(0)
        for k in range(len(self.votes)):
            self.votes[k] += (label == k) & counts
        self.sums += p

    def result(self) -> Vote:
        total = self.votes.sum(0)
        most = self.votes.max(0)
        label = np.where(self.votes == most, self.sums, -1.0).argmax(0)
        second = np.sort(self.votes, axis=0)[-2]
        share = np.divide(most - second, total, out=np.full(total.shape, np.nan), where=total > 0)
        return Vote(np.where(total > 0, label, -1).astype(np.int8), total.astype(np.uint8), share.astype(np.float32))


def seen_classes(height: F32, there: WarpField, classes: F32) -> F32:
    """(c, h, w) probabilities of another view, at its pixel nearest to each of these pixels at their heights; else NaN.

    there: from this window to the other's, window pixels to window pixels. classes: (c, ho, wo) of the other.
    """
    rows, cols = np.nonzero(np.isfinite(height))
    u, v = there(cols, rows, height[rows, cols])
    j, i = (np.floor(x + 0.5).astype(np.int64) for x in (u, v))
    inside = (i >= 0) & (i < classes.shape[1]) & (j >= 0) & (j < classes.shape[2])
    out = np.full((len(classes), *height.shape), np.nan, np.float32)
    out[:, rows[inside], cols[inside]] = classes[:, i[inside], j[inside]]
    return out
