"""What all views say of a few possible heights of each ground cell: the evidence that a learned refinement reads.

Each cell has candidate heights: those of the surface so far, steps above and below it, and heights of its neighbours.
Every view is looked up at every candidate (a vertical line of the object space; Bethel, 1986), which yields how well
the images agree there, how many of the views' own height maps hold it, and how many see through it. No view is the
reference, and any number of views gives the same channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import cv2
import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rsmvs.fusion.ortho import Look
from rsmvs.geometry.warp import field_at
from rsmvs.types import F32, F64

STEPS = (-10.0, -6.0, -4.0, -2.5, -1.5, -0.75, 0.0, 0.75, 1.5, 2.5, 4.0, 6.0, 10.0)  # cells above the surface so far
NEAR = (5, 13)  # cells, sides of the windows whose lowest and highest heights are candidates
BELOW = 33  # cells: what is narrower is taken away for the candidate that is the ground between crowns
CANDIDATES = len(STEPS) + 2 * len(NEAR) + 2
CHANNELS = 5  # of each candidate: agreement, that of the best pair, likeness, support, against
BASE = 15  # channels of a cell beside those of its candidates
REACH = 64  # cells around a cell on which its refined height may depend
POOLED = 8  # cells that a refining network takes together: grids start on their multiples
_PATCH = 5  # cells, side of the window over which grey values are normalised
_SURROUNDINGS = 63  # cells, side of the window of the usual contrast
_HIDDEN = 0.3  # weight of a view whose own height map lies above the candidate: it may be wrong itself
_HOLDS = 2.0  # cells: a height map this far from the candidate no longer supports it
_CUT = 3.0  # deviations of normalised grey values


class Evidence(NamedTuple):
    """heights: (k, h, w) m; channels: (k, CHANNELS, h, w), -1 to 1; base: (BASE, h, w), about -3 to 3;
    views: (h, w) how many looks reach the cell at the surface so far."""

    heights: F32
    channels: F32
    base: F32
    views: F32


def closed(height: F32) -> F32:
    """The surface without holes: that of the nearest cell with a height."""
    known = np.isfinite(height)
    if known.all():
        return height
    i, j = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(height[i, j], np.float32)


def candidate_heights(height: F32, cell: float) -> F32:
    """(k, h, w): STEPS around the surface (h, w; m, without holes), lowest and highest heights NEAR, median of 5 x 5, and the
    surface without what stands on it (opening by BELOW)."""
    planes = [height + np.float32(s * cell) for s in STEPS]
    for side in NEAR:
        planes += [cv2.erode(height, np.ones((side, side), np.uint8)), cv2.dilate(height, np.ones((side, side), np.uint8))]
    ground = cv2.morphologyEx(height, cv2.MORPH_OPEN, np.ones((BELOW, BELOW), np.uint8))
    return np.stack([*planes, cv2.medianBlur(height, 5), ground])


def gather(height: F32, confidence: F32, n_views: Any, looks: Sequence[Look], cell: float) -> Evidence:
    """Evidence of a surface (h, w), NaN where unknown, with the confidence and the number of views of its cells.

    looks: at least two; their heights may have holes. cell: metres.
    """
    known, surface = np.isfinite(height), closed(height)
    planes = candidate_heights(surface, cell)
    usual = [_broad(surface, look) for look in looks]
    channels = np.zeros((len(planes), CHANNELS, *height.shape), np.float32)
    for k, plane in enumerate(planes):
        views = _Views(plane, looks, usual, cell)
        channels[k] = views.agreement(), views.best_pair(), views.likeness(), views.support, views.against
        if k == STEPS.index(0.0):
            seen, grey = views.seen, views.grey
    base: list[Any] = [np.where(known, confidence, 0) * 2 - 1, known * 2.0 - 1]
    base += [np.minimum(n_views, 4) / 2 - 1, np.minimum(seen, 4) / 2 - 1]
    base += [np.clip((surface - cv2.blur(surface, (n, n))) / (cell * s), -3, 3) for n, s in ((5, 2), (17, 6), (65, 20))]
    base += [np.tanh((p - surface) / (8 * cell)) for p in planes[len(STEPS) :]]
    base += [grey, np.full(height.shape, min(len(looks), 6) / 3 - 1)]
    return Evidence(planes, channels, np.stack(base).astype(np.float32), seen)


def _broad(surface: F32, look: Look) -> tuple[F32, F32]:
    """Mean grey value and variance around each cell, as a view shows the surface."""
    grey, weight, nothing = (np.zeros(surface.shape, np.float32) for _ in range(3))
    _look_up(surface, look.image, look.height, look.field.coefs, look.field.lattice, 1.0, grey, weight, nothing, nothing)
    return _moments(grey, (weight > 0).astype(np.float32), _SURROUNDINGS)


class _Views:
    """The looks at one candidate plane.

    support: share of the views whose own heights hold the plane; against: share that sees through it; seen: views that
    reach the cell; grey: their mean grey value against its surroundings.
    """

    def __init__(self, plane: F32, looks: Sequence[Look], usual: Sequence[tuple[F32, F32]], cell: float) -> None:
        shape = plane.shape
        self.seen, self.support, self.against = (np.zeros(shape, np.float32) for _ in range(3))
        self._sum, self._squares, self._weight, self._weight2 = (np.zeros(shape, np.float32) for _ in range(4))
        self._grey, self._grey2 = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._each: list[tuple[F32, F32]] = []  # per view: normalised grey values, which cells it reaches
        for look, (mean, variance) in zip(looks, usual, strict=True):
            grey, weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
            field = look.field
            _look_up(plane, look.image, look.height, field.coefs, field.lattice, _HOLDS * cell, grey, weight,
                     self.support, self.against)  # fmt: skip
            self._feed(grey, weight, mean, variance)
        self.support /= np.maximum(self.seen, 1)
        self.against /= np.maximum(self.seen, 1)
        self.grey = self._grey / np.maximum(self._weight, 1e-6)

    def _feed(self, grey: F32, weight: F32, usual_mean: F32, usual_variance: F32) -> None:
        inside = (weight > 0).astype(np.float32)
        mean, variance = _moments(grey, inside, _PATCH)
        fine = inside * np.clip((grey - mean) / np.sqrt(variance + 0.01 * usual_variance + 1e-6), -_CUT, _CUT)
        wide = inside * np.clip((grey - usual_mean) / np.sqrt(usual_variance + 1e-6), -_CUT, _CUT)
        self.seen += inside
        self._each.append((fine, inside))
        self._sum += weight * fine
        self._squares += (weight * fine) ** 2
        self._weight += weight
        self._weight2 += weight * weight
        self._grey += weight * wide
        self._grey2 += weight * wide * wide

    def agreement(self) -> F32:
        """Mean correlation of all pairs of views over 3 x 3 cells: (|sum|^2 - sum of squares) over the pairs' weights."""
        together = cv2.blur(self._sum**2 - self._squares, (3, 3))
        pairs = cv2.blur(self._weight**2 - self._weight2, (3, 3))
        return np.clip(np.where(pairs > 0.05, together / np.maximum(pairs, 0.05), 0), -1, 1).astype(np.float32)

    def best_pair(self) -> F32:
        """Largest correlation of two views over 3 x 3 cells, whatever their own height maps say: what one view hides, two
        others may see; -1 where no two views reach the cell."""
        best = np.full(self.seen.shape, -1, np.float32)
        for (one, reaches), (other, too) in combinations(self._each, 2):
            n = cv2.blur(reaches * too, (3, 3))
            np.maximum(best, np.where(n > 0.05, cv2.blur(one * other, (3, 3)) / np.maximum(n, 0.05), -1), out=best)
        return np.minimum(best, 1)

    def likeness(self) -> F32:
        """1 where all views show the same grey value, towards -1 where they differ by more than the usual contrast."""
        deviation = np.sqrt(np.maximum(self._grey2 / np.maximum(self._weight, 1e-6) - self.grey**2, 0))
        return np.where(self.seen >= 2, 1 - 2 * np.minimum(deviation, 1), -1).astype(np.float32)


def _moments(grey: F32, inside: F32, side: int) -> tuple[F32, F32]:
    """Mean and variance over side x side cells of those inside."""
    n = np.maximum(cv2.blur(inside, (side, side)), 1e-6)
    mean = cv2.blur(grey * inside, (side, side)) / n
    return mean, np.maximum(cv2.blur(grey * grey * inside, (side, side)) / n - mean * mean, 0)


@njit(cache=True, nogil=True)
def _look_up(
    plane: F32, image: F32, front: F32, coefs: F64, lattice: F64, holds: float, grey: F32, weight: F32, support: F32,
    against: F32,
) -> None:
    """Grey value and weight of one view at the heights of a plane; adds to the support and to what speaks against."""
    h, w = plane.shape
    hi, wi = image.shape
    for r in range(h):
        for c in range(w):
            z = plane[r, c]
            u, v = field_at(coefs, lattice, c, r, z)
            j, i = int(np.floor(u)), int(np.floor(v))
            if not (0 <= j < wi - 1 and 0 <= i < hi - 1):
                continue
            a, b = np.float32(u - j), np.float32(v - i)
            top = image[i, j] + a * (image[i, j + 1] - image[i, j])
            low = image[i + 1, j] + a * (image[i + 1, j + 1] - image[i + 1, j])
            value = top + b * (low - top)
            if np.isnan(value):
                continue
            grey[r, c], weight[r, c] = value, 1.0
            d = front[i + (1 if b > 0.5 else 0), j + (1 if a > 0.5 else 0)] - z  # NaN: says nothing
            if abs(d) < holds:
                support[r, c] += 1 - abs(d) / holds
            elif d < 0:
                against[r, c] += 1
            elif d > 0:
                weight[r, c] = _HIDDEN


@njit(cache=True, nogil=True)
def _hold(surface: F32, front: F32, coefs: F64, lattice: F64, bound: float, count: NDArray[np.uint8]) -> None:
    h, w = surface.shape
    hi, wi = front.shape
    for r in range(h):
        for c in range(w):
            u, v = field_at(coefs, lattice, c, r, surface[r, c])
            j, i = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
            if 0 <= j < wi and 0 <= i < hi and abs(front[i, j] - surface[r, c]) <= bound:
                count[r, c] += 1


def holding(surface: F32, looks: Sequence[Look], bound: float) -> NDArray[np.uint8]:
    """(h, w): how many views' own heights lie within `bound` m of the surface (m, NaN where unknown)."""
    count = np.zeros(surface.shape, np.uint8)
    for look in looks:
        _hold(surface, look.height, look.field.coefs, look.field.lattice, bound, count)
    return count
