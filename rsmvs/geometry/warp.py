"""The warp field: where each pixel of a reference window falls in a target, as a function of height.

For a reference pixel the target coordinate is a low-order polynomial in the normalised height, whose coefficients are
interpolated bilinearly from a coarse lattice of exact localise -> project evaluations. The lattice is refined until
the measured error, between its nodes in the image and in height, is below the tolerance. A target is anything that
takes (lon, lat, h): another camera (u, v = col, row in pixels) or a map projection (u, v = x, y in metres).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from rsmvs.errors import CameraError
from rsmvs.types import F64, Camera, Window

Target = Callable[[F64, F64, F64], tuple[F64, F64]]
TOLERANCE_PX = 0.02
_FIRST_STEP, _LAST_STEP = 128, 4
_DEGREES = (2, 3, 5)


@njit(cache=True, nogil=True, inline="always")
def field_at(coefs: F64, lattice: F64, col: float, row: float, h: float) -> tuple[float, float]:
    """(u, v) of one pixel and height; `coefs` and `lattice` as in WarpField. For use inside other kernels."""
    x, y = (col - lattice[0]) * lattice[2], (row - lattice[1]) * lattice[2]
    j = min(max(int(x), 0), coefs.shape[1] - 2)
    i = min(max(int(y), 0), coefs.shape[0] - 2)
    a, b = x - j, y - i
    w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    t = (h - lattice[3]) * lattice[4]
    u, v = 0.0, 0.0
    for k in range(coefs.shape[2] - 1, -1, -1):
        cu = w00 * coefs[i, j, k, 0] + w01 * coefs[i, j + 1, k, 0]
        cv = w00 * coefs[i, j, k, 1] + w01 * coefs[i, j + 1, k, 1]
        cu += w10 * coefs[i + 1, j, k, 0] + w11 * coefs[i + 1, j + 1, k, 0]
        cv += w10 * coefs[i + 1, j, k, 1] + w11 * coefs[i + 1, j + 1, k, 1]
        u, v = u * t + cu, v * t + cv
    return u + lattice[5], v + lattice[6]


@njit(cache=True, nogil=True)
def _field_at_many(coefs: F64, lattice: F64, col: F64, row: F64, h: F64, u: F64, v: F64) -> None:
    for n in range(col.size):
        u[n], v[n] = field_at(coefs, lattice, col[n], row[n], h[n])


@dataclass(frozen=True, eq=False)
class WarpField:
    """See the module's text.

    coefs: (ny, nx, k, 2) polynomial coefficients of (u, v) - (u0, v0), lowest order first, at the lattice nodes.
    lattice: [col of node 0, row of node 0, 1 / node distance in px, mid height, 1 / half height range, u0, v0].
    max_error: largest measured distance to the exact target, in target units.
    """

    coefs: F64
    lattice: F64
    max_error: float

    def __call__(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        """Target coordinates of pixels of the reference *image* (not of the window) at heights h (m)."""
        a, b, c = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (col, row, h)))
        u, v = np.empty(a.size), np.empty(a.size)
        _field_at_many(self.coefs, self.lattice, *(np.ascontiguousarray(x).reshape(-1) for x in (a, b, c)), u, v)
        return u.reshape(a.shape), v.reshape(a.shape)

    def moved(self, col: float, row: float, u: float, v: float) -> WarpField:
        """The same field between windows: their pixel (0, 0) is (col, row) of the reference and (u, v) of the target."""
        return WarpField(self.coefs, self.lattice - np.array([col, row, 0.0, 0.0, 0.0, u, v]), self.max_error)

    def at_scale(self, factor: int) -> WarpField:
        """The same field between images averaged over factor x factor pixels.

        Coarse pixel i covers fine pixels factor * i ... factor * i + factor - 1, so its centre lies at
        factor * i + (factor - 1) / 2.
        """
        half = (factor - 1) / 2
        x0, y0, inverse_step, mid, inverse_half, u0, v0 = self.lattice
        lattice = [(x0 - half) / factor, (y0 - half) / factor, inverse_step * factor, mid, inverse_half]
        lattice += [(u0 - half) / factor, (v0 - half) / factor]
        return WarpField(self.coefs / factor, np.array(lattice), self.max_error / factor)

    def magnified(self, factor: float) -> WarpField:
        """The same field into a target image resampled to `factor` times its resolution, its corners kept."""
        lattice = self.lattice.copy()
        lattice[5:] = lattice[5:] * factor + (factor - 1) / 2
        return WarpField(self.coefs * factor, lattice, self.max_error * factor)

    def slope(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        """(du/dh, dv/dh) per metre, by a central difference of one metre."""
        u1, v1 = self(col, row, np.asarray(h, np.float64) + 0.5)
        u0, v0 = self(col, row, np.asarray(h, np.float64) - 0.5)
        return u1 - u0, v1 - v0


def build_warp_field(
    reference: Camera,
    target: Target,
    window: Window,
    height_range: tuple[float, float],
    tolerance: float = TOLERANCE_PX,
) -> WarpField:
    """The field of `window` of the reference image over `height_range` (m), exact to `tolerance` target units.

    Raises CameraError when the reference camera has no ground point there, or when no lattice is fine enough.
    """
    low, high = height_range
    low, high = (low, high) if high - low >= 1.0 else (low - 0.5, high + 0.5)
    window = window.aligned(_FIRST_STEP)  # one lattice for all windows of an image: they agree to the last bit but one
    # The two errors are independent: the degree must suffice at the nodes themselves, the lattice between them.
    for degree in _DEGREES:
        field = _fit_field(reference, target, window, (low, high), _FIRST_STEP, degree)
        if _measure(reference, target, field, (low, high), parts=1) <= tolerance / 2:
            break
    step = _FIRST_STEP
    while (error := _measure(reference, target, field, (low, high), parts=2)) > tolerance:
        if step <= _LAST_STEP:
            raise CameraError(
                "camera",
                f"warp over {window} and heights {low:.0f} to {high:.0f} m is no better than {error:.3g}",
                "check the RPC, or narrow the height range",
            )
        step //= 2
        field = _fit_field(reference, target, window, (low, high), step, degree)
    return replace(field, max_error=error)


def _fit_field(
    reference: Camera, target: Target, window: Window, heights: tuple[float, float], step: int, degree: int
) -> WarpField:
    nx, ny = max(-(-window.width // step), 1) + 1, max(-(-window.height // step), 1) + 1
    cols, rows = window.col + step * np.arange(nx, dtype=float), window.row + step * np.arange(ny, dtype=float)
    mid, half = (heights[0] + heights[1]) / 2, (heights[1] - heights[0]) / 2
    t = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))  # Chebyshev nodes: near-minimax in height
    r, c, z = np.meshgrid(rows, cols, mid + half * t, indexing="ij")
    uv = np.stack(_exact(reference, target, c, r, z), axis=-1)  # (ny, nx, k, 2)
    origin = uv[ny // 2, nx // 2, 0].copy()
    coefs = np.einsum("kt,yxtc->yxkc", np.linalg.inv(np.vander(t, increasing=True)), uv - origin)
    lattice = np.array([window.col, window.row, 1.0 / step, mid, 1.0 / half, *origin])
    return WarpField(np.ascontiguousarray(coefs), lattice, np.inf)


def _measure(reference: Camera, target: Target, field: WarpField, heights: tuple[float, float], parts: int) -> float:
    """Largest error over nine heights with both ends, at the lattice nodes (parts = 1) and the middles of the cells and
    of their edges (parts = 2)."""
    ny, nx = field.coefs.shape[:2]
    step = 1.0 / field.lattice[2] / parts
    xs, ys = (np.arange(parts * (n - 1) + 1) * step + field.lattice[i] for i, n in enumerate((nx, ny)))
    r, c, z = np.meshgrid(ys, xs, np.linspace(*heights, 9), indexing="ij")
    u, v = _exact(reference, target, c, r, z)
    p, q = field(c, r, z)
    return float(np.hypot(p - u, q - v).max())


def _exact(reference: Camera, target: Target, col: F64, row: F64, h: F64) -> tuple[F64, F64]:
    lon, lat = reference.localise(col, row, h)
    if not np.isfinite(lon).all():
        raise CameraError(
            "camera", f"no ground point at heights {h.min():.0f} to {h.max():.0f} m", "check the RPC and the height range"
        )
    return target(lon, lat, h)
