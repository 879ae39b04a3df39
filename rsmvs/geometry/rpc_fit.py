"""Fit an RPC to ground-image correspondences.

Source: Tao & Hu (2001), iteratively reweighted linear least squares with Tikhonov regularisation; the denominators'
constant terms are fixed to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC
from rsmvs.types import F64

_ITERATIONS = 6


def monomials(lon: F64, lat: F64, h: F64) -> F64:
    """The twenty RPC00B monomials of normalised coordinates, (n, 20)."""
    one = np.ones_like(lon)
    cols = [one, lon, lat, h, lon * lat, lon * h, lat * h, lon**2, lat**2, h**2, lat * lon * h, lon**3]
    cols += [lon * lat**2, lon * h**2, lon**2 * lat, lat**3, lat * h**2, lon**2 * h, lat**2 * h, h**3]
    return np.stack(cols, axis=1)


def fit_rpc(lon: Any, lat: Any, h: Any, col: Any, row: Any, damping: float = 1e-9) -> tuple[RPC, float]:
    """RPC through n >= 39 correspondences and its largest residual in pixels.

    lon, lat in degrees, h in m, col, row in pixels, all (n,), spread over the whole volume in which the camera is to
    be valid: offsets and scales are taken from their extent. `damping` is relative to the normal equations' scale.
    """
    arrays = [np.asarray(a, np.float64).ravel() for a in (col, row, lon, lat, h)]
    if arrays[0].size < 39 or not all(np.isfinite(a).all() for a in arrays):
        raise CameraError("RPC fit", f"{arrays[0].size} finite points are too few", "give at least 39 points")
    offsets = np.array([(a.max() + a.min()) / 2 for a in arrays])
    scales = np.array([max((a.max() - a.min()) / 2, 1e-9) for a in arrays])
    c, r, x, y, z = ((a - o) / s for a, o, s in zip(arrays, offsets, scales, strict=True))
    m = monomials(x, y, z)
    poly = np.concatenate([_fit_ratio(m, c, damping), _fit_ratio(m, r, damping)])
    rpc = RPC(offsets, scales, poly)
    u, v = rpc.project(arrays[2], arrays[3], arrays[4])
    return rpc, float(np.hypot(u - arrays[0], v - arrays[1]).max())


def _fit_ratio(m: F64, value: F64, damping: float) -> F64:
    """Numerator and denominator (2, 20) with num/den = value; reweighted so that the residual is in image units."""
    weight = np.ones_like(value)
    rows = np.concatenate([m, -value[:, None] * m[:, 1:]], axis=1)
    best, best_error = np.zeros((2, 20)), np.inf
    for _ in range(_ITERATIONS):
        a, b = rows * weight[:, None], value * weight
        scale = np.sqrt(len(value)) * np.sqrt(damping)
        a = np.concatenate([a, scale * np.eye(39)])
        b = np.concatenate([b, np.zeros(39)])
        p = np.linalg.lstsq(a, b, rcond=None)[0]
        num, den = p[:20], np.concatenate([[1.0], p[20:]])
        d = m @ den
        error = float(np.abs((m @ num) / d - value).max())
        if error < best_error:
            best, best_error = np.stack([num, den]), error
        weight = 1.0 / np.abs(d)
    return best


def refit_rpc(
    project: Callable[[F64, F64, F64], tuple[F64, F64]],
    localise: Callable[[F64, F64, F64], tuple[F64, F64]],
    width: int,
    height: int,
    height_range: tuple[float, float],
    nodes: tuple[int, int, int] = (15, 15, 9),
) -> tuple[RPC, float]:
    """RPC of any camera over an image of that size and a height range (m), and its largest residual in pixels.

    The residual is measured on points between the fitted nodes as well.
    """

    def volume(n: tuple[int, int, int]) -> tuple[F64, F64, F64, F64, F64]:
        cols, rows = np.linspace(-0.5, width - 0.5, n[0]), np.linspace(-0.5, height - 0.5, n[1])
        c, r, z = (a.ravel() for a in np.meshgrid(cols, rows, np.linspace(*height_range, n[2])))
        lon, lat = localise(c, r, z)
        return lon, lat, z, *project(lon, lat, z)

    rpc, worst = fit_rpc(*volume(nodes))
    lon, lat, z, c, r = volume((nodes[0] - 1, nodes[1] - 1, nodes[2] - 1))
    u, v = rpc.project(lon, lat, z)
    return rpc, max(worst, float(np.hypot(u - c, v - r).max()))
