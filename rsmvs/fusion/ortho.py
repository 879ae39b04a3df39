"""The orthoimage: each ground cell with its height looked up in the image that sees it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from rsmvs.geometry.warp import WarpField, field_at
from rsmvs.types import F32, F64


class Look(NamedTuple):
    """An image window (h, w), its heights (h, w) m, and the field from grid cells and height to its pixels."""

    image: F32
    height: F32
    field: WarpField


@njit(cache=True, nogil=True)
def _look(surface: F32, image: F32, height: F32, coefs: F64, lattice: F64, hidden: float, out: F32) -> None:
    h, w = surface.shape
    hi, wi = image.shape
    for r in range(h):
        for c in range(w):
            z = surface[r, c]
            if np.isnan(z):
                continue
            u, v = field_at(coefs, lattice, c, r, z)
            j, i = int(np.floor(u)), int(np.floor(v))
            if not (0 <= j < wi - 1 and 0 <= i < hi - 1):
                continue
            front = height[i + (1 if v - i > 0.5 else 0), j + (1 if u - j > 0.5 else 0)]
            if front > z + hidden:  # false where the height is unknown
                continue
            a, b = u - j, v - i
            top = image[i, j] + a * (image[i, j + 1] - image[i, j])
            low = image[i + 1, j] + a * (image[i + 1, j + 1] - image[i + 1, j])
            out[r, c] = top + b * (low - top)


def orthoimage(surface: F32, looks: list[Look], hidden: float) -> F32:
    """Grey values (h, w) of a surface (m, NaN where unknown) from the first of `looks` that sees each cell.

    A cell is hidden where the image's own height there is more than `hidden` m above it. Later images are brought to
    the brightness of the first; a cell hidden everywhere takes the first that reaches it.
    """
    out = np.full(surface.shape, np.nan, np.float32)
    for limit in (hidden, np.inf):
        for look in looks:
            if not (np.isnan(out) & np.isfinite(surface)).any():
                return out
            seen = np.full(surface.shape, np.nan, np.float32)
            _look(surface, look.image, look.height, look.field.coefs, look.field.lattice, limit, seen)
            both = np.isfinite(seen) & np.isfinite(out)
            gain = float(np.median(out[both])) / max(float(np.median(seen[both])), 1e-6) if both.any() else 1.0
            out = np.where(np.isnan(out), seen * np.float32(gain), out)
    return out
