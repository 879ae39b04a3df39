"""Geometric consistency of the height maps of several references.

Source: the seeds' check. A reference pixel P1 with its height goes to the other view (P2); that view's own height there
takes it to the ground and back into the reference (P3). The two agree when |P3 - P1| < psi and |dh| < bound.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsmvs.geometry.warp import WarpField, field_at
from rsmvs.types import F32, F64


class Other(NamedTuple):
    """Another reference's heights: (ho, wo) m, NaN for none; the fields from this reference's window to its window and
    back, window pixels to window pixels."""

    height: F32
    there: WarpField
    back: WarpField


class Consistent(NamedTuple):
    """height: mean of the agreeing heights, the reference's own included (m), (h, w). agrees: bit k set where other k
    agrees. against: other views that see a lower surface through the point (free-space violations, Merrell et al.
    2007); a view with a higher one in front of it says nothing."""

    height: F32
    agrees: NDArray[np.uint32]
    against: NDArray[np.uint8]


@njit(cache=True, nogil=True)
def _sample(height: F32, u: float, v: float, bound: float) -> float:
    """Bilinear height at (u, v) on a smooth surface, the nearest pixel's across an edge or a hole; NaN outside."""
    h, w = height.shape
    j, i = int(np.floor(u)), int(np.floor(v))
    jn, i_n = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
    if not (0 <= jn < w and 0 <= i_n < h):
        return np.nan
    nearest = height[i_n, jn]
    if 0 <= j < w - 1 and 0 <= i < h - 1:
        a, b = u - j, v - i
        z00, z01, z10, z11 = height[i, j], height[i, j + 1], height[i + 1, j], height[i + 1, j + 1]
        spread = max(max(z00, z01), max(z10, z11)) - min(min(z00, z01), min(z10, z11))
        if spread < bound:  # false when any is NaN
            return (1 - b) * ((1 - a) * z00 + a * z01) + b * ((1 - a) * z10 + a * z11)
    return nearest


@njit(cache=True, nogil=True)
def _check(
    height: F32, other: F32, there: F64, there_lattice: F64, back: F64, back_lattice: F64, psi: float, bound: float,
    bit: int, agrees: NDArray[np.uint32], against: NDArray[np.uint8], total: F64,
) -> None:
    h, w = height.shape
    for r in range(h):
        for c in range(w):
            z = height[r, c]
            if np.isnan(z):
                continue
            u, v = field_at(there, there_lattice, c, r, z)
            z2 = _sample(other, u, v, bound)
            if not abs(z2 - z) < bound:
                if z2 < z:
                    against[r, c] += 1
                continue
            x, y = field_at(back, back_lattice, u, v, z2)
            if np.hypot(x - c, y - r) < psi:
                agrees[r, c] |= np.uint32(1) << np.uint32(bit)
                total[r, c] += z2


def check_consistency(height: F32, others: list[Other], max_reprojection: float, max_difference: float) -> Consistent:
    """Heights (h, w) of a reference against those of up to 32 other references; limits in pixels and metres."""
    assert len(others) <= 32, "a bit each: heights.max_views is bounded"
    agrees, against = np.zeros(height.shape, np.uint32), np.zeros(height.shape, np.uint8)
    total = height.astype(np.float64)
    for k, o in enumerate(others):
        fields = (o.there.coefs, o.there.lattice, o.back.coefs, o.back.lattice)
        _check(height, o.height, *fields, max_reprojection, max_difference, k, agrees, against, total)
    return Consistent((total / (np.bitwise_count(agrees) + 1.0)).astype(np.float32), agrees, against)
