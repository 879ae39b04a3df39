"""Registration of a surface to a truth by a translation, and sampling of one on the cells of the other.

Two products of one area differ by the absolute error of their images; accuracy is told with and without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import uniform_filter

from rsmvs.types import F64

SMOOTHING = 1.5  # m; the search compares averaged surfaces: a sub-cell shift smooths, which alone would win on noise
FAR = 1.0  # m: errors from there on all weigh the same in the search


@dataclass(frozen=True)
class Shift:
    """Translation in metres to add to a surface so that it fits the truth: east, north, up."""

    dx: float = 0.0
    dy: float = 0.0
    dz: float = 0.0


@dataclass(frozen=True)
class Patch:
    """A window of surface and truth for the search.

    surface: (h, w) m, NaN without value; smoothed alike as truth: (n,) m at n cells, which lie at pixels (col, row) of
    the surface. px_per_m: (2, 2) pixel (col, row) per metre (east, north).
    """

    surface: F64
    truth: F64
    col: F64
    row: F64
    px_per_m: F64


def bilinear(surface: F64, col: F64, row: F64) -> F64:
    """Values at pixel coordinates (integer = centre); neighbours without value are left out.

    NaN where the neighbours with a value hold less than half of the weight.
    """
    height, width = surface.shape
    c0, r0 = np.floor(col).astype(np.int64), np.floor(row).astype(np.int64)
    total, weight = np.zeros(col.shape), np.zeros(col.shape)
    for dr in (0, 1):
        for dc in (0, 1):
            c, r = c0 + dc, r0 + dr
            inside = (c >= 0) & (c < width) & (r >= 0) & (r < height)
            value = surface[np.where(inside, r, 0), np.where(inside, c, 0)]
            w = (1 - np.abs(col - c)) * (1 - np.abs(row - r)) * (inside & np.isfinite(value))
            total += w * np.where(w > 0, value, 0.0)
            weight += w
    return np.where(weight >= 0.5 - 1e-9, total / np.where(weight > 0, weight, 1.0), np.nan)


def smoothed(surface: F64, cells: tuple[int, int]) -> F64:
    """Moving average over `cells` (rows, columns), of the cells with a value; NaN stays NaN."""
    known = np.isfinite(surface)
    weight = uniform_filter(known.astype(np.float64), cells, mode="constant")
    mean = uniform_filter(np.where(known, surface, 0.0), cells, mode="constant") / np.maximum(weight, 1e-9)
    return np.where(known, mean, np.nan)


def cells_of(metres: float, px_per_m: float) -> int:
    """Odd number of cells nearest to a length."""
    return max(1, round(metres * px_per_m)) | 1


def search_shift(patches: Sequence[Patch], max_shift: float = 3.0, step: float = 0.25) -> tuple[float, float]:
    """(dx, dy) in metres on a lattice of `step` within +-max_shift that fits the surface best to the truth.

    Best: the smallest mean difference from the median one, each cell counting up to 1 m and one without a height 1 m (to
    0.1 mm); then the smallest shift. Coarse (1 m) to fine: terrain and roofs are wider than that.
    """
    if not patches:
        return 0.0, 0.0
    reach = round(max_shift / step)
    lattice = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)]
    scores: dict[tuple[int, int], tuple[float, float]] = {}

    def score(node: tuple[int, int]) -> tuple[float, float]:
        if node not in scores:
            scores[node] = _score(patches, node[0] * step, node[1] * step)
        return scores[node]

    stride = max(1, round(1.0 / step))
    coarse = sorted((n for n in lattice if n[0] % stride == 0 and n[1] % stride == 0), key=score, reverse=True)
    near = {n for n in lattice for c in coarse[:2] if max(abs(n[0] - c[0]), abs(n[1] - c[1])) <= stride}
    best = max(sorted(near), key=score)
    return best[0] * step, best[1] * step


def _score(patches: Sequence[Patch], dx: float, dy: float) -> tuple[float, float]:
    errors = np.concatenate([_errors(p, dx, dy) for p in patches])
    known = errors[np.isfinite(errors)]
    off = np.minimum(np.abs(known - np.median(known)), FAR) if known.size else known
    return -round(float(off.sum() + FAR * (errors.size - known.size)) / errors.size, 4), -float(np.hypot(dx, dy))


def _errors(patch: Patch, dx: float, dy: float) -> F64:
    dc, dr = patch.px_per_m @ np.array([dx, dy])
    return bilinear(patch.surface, patch.col - dc, patch.row - dr) - patch.truth


def pixel_rates(to_pixel: Callable[[Any, Any], tuple[F64, F64]], x: F64, y: F64) -> F64:
    """(2, 2) pixel (col, row) per metre (east, north): medians over the points (x, y)."""
    col, row = to_pixel(x, y)
    rates = np.empty((2, 2))
    for k, (dx, dy) in enumerate(((1.0, 0.0), (0.0, 1.0))):
        c, r = to_pixel(x + dx, y + dy)
        rates[:, k] = np.median(c - col), np.median(r - row)
    return rates
