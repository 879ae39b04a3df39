"""How far a height may be off: from the matcher's own error, the number of views, and the relief around the cell.

Two causes add up. The height is as good as the matcher says, the better the more views agree. And
the place is known to a part of a cell: where the surface is steep, at walls and crowns, that is an error in height.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

from rsmvs.types import F32

_PLACE = 1.0  # cells: matching windows smear edges by about half their width
_REACH = 2  # cells around a cell in which the relief counts


def height_sigma(height: Any, matched: Any, n_views: Any) -> F32:
    """One sigma (m) of heights (h, w), NaN without data.

    matched: (h, w) m, one sigma of one view's height; filled cells have NaN and count as twice the usual one.
    n_views: (h, w) views that agree. The relief is the height difference over +-2 cells, taken as a slope.
    """
    height = np.asarray(height, np.float32)
    known = np.isfinite(height)
    out = np.full(height.shape, np.nan, np.float32)
    if not known.any():
        return out
    single = np.asarray(matched, np.float64)
    usual = float(np.nanmedian(single[known])) if np.isfinite(single[known]).any() else 0.0
    single = np.where(np.isfinite(single), single, 2 * usual)
    mean = single / np.sqrt(np.maximum(np.asarray(n_views, np.float64), 0.25))
    size = 2 * _REACH + 1
    high = maximum_filter(np.where(known, height, -np.inf), size, mode="nearest")
    low = minimum_filter(np.where(known, height, np.inf), size, mode="nearest")
    placed = _PLACE * (high - low)[known] / (size - 1)
    out[known] = np.sqrt(mean[known] ** 2 + placed**2)
    return out
