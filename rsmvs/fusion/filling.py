"""Holes of a surface model: small ones interpolated from their rim, large ones taken from the terrain, each cell told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.fill import fillnodata
from scipy.ndimage import binary_closing

from rsmvs.types import F32

MEASURED, INTERPOLATED, TERRAIN, NONE = 0, 1, 2, 3


def filled(surface: Any, ground: Any, reach: int) -> tuple[F32, NDArray[np.uint8]]:
    """(heights (h, w) m, code (h, w)) of a surface and the ground under it, both (h, w) m with NaN.

    Cells in holes narrower than 2 `reach` cells get the inverse-distance mean of the rim in eight directions, others
    the ground's height; at most the highest height within reach, so that nothing new sticks out.
    """
    surface = np.asarray(surface, np.float32)
    out, code = surface.copy(), np.where(np.isfinite(surface), MEASURED, NONE).astype(np.uint8)
    hole = code == NONE
    if reach > 0 and not hole.all():
        size = 2 * reach + 1
        # padded: closing counts what is outside as empty, and would open holes at the rim
        near = binary_closing(np.pad(~hole, size), np.ones((size, size)))[size:-size, size:-size] & hole
        values = np.where(hole, 0, surface).astype(np.float32)
        guess = fillnodata(values, mask=(~hole).astype(np.uint8), max_search_distance=float(size), smoothing_iterations=0)
        reached = near & (guess != 0)
        out[reached], code[reached] = guess[reached], INTERPOLATED
    left = (code == NONE) & np.isfinite(ground)
    out[left], code[left] = np.asarray(ground, np.float32)[left], TERRAIN
    return out, code
