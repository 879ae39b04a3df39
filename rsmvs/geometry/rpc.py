"""Rational polynomial camera (RPC00B), float64 throughout.

Source: NIMA STDI-0002, RPC00B. With P, L, H the normalised latitude, longitude and height, the twenty monomials are
1, L, P, H, LP, LH, PH, L^2, P^2, H^2, PLH, L^3, LP^2, LH^2, L^2P, P^3, PH^2, L^2H, P^2H, H^3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit

from rsmvs.errors import CameraError
from rsmvs.types import F64

OFFSETS = ("col_off", "row_off", "lon_off", "lat_off", "h_off")
SCALES = ("col_scale", "row_scale", "lon_scale", "lat_scale", "h_scale")
POLYNOMIALS = ("col_num", "col_den", "row_num", "row_den")
_NEWTON_STEPS = 20
_CONVERGED = 1e-13  # normalised ground units: about 1e-9 px


@njit(cache=True, nogil=True)
def _monomials(lo: float, la: float, h: float, m: F64) -> None:
    m[0], m[1], m[2], m[3] = 1.0, lo, la, h
    m[4], m[5], m[6] = lo * la, lo * h, la * h
    m[7], m[8], m[9] = lo * lo, la * la, h * h
    m[10], m[11], m[12], m[13] = la * lo * h, lo * lo * lo, lo * la * la, lo * h * h
    m[14], m[15], m[16] = lo * lo * la, la * la * la, la * h * h
    m[17], m[18], m[19] = lo * lo * h, la * la * h, h * h * h


@njit(cache=True, nogil=True)
def _monomials_dlon(lo: float, la: float, h: float, m: F64) -> None:
    m[:] = 0.0
    m[1], m[4], m[5], m[7], m[10] = 1.0, la, h, 2 * lo, la * h
    m[11], m[12], m[13], m[14], m[17] = 3 * lo * lo, la * la, h * h, 2 * lo * la, 2 * lo * h


@njit(cache=True, nogil=True)
def _monomials_dlat(lo: float, la: float, h: float, m: F64) -> None:
    m[:] = 0.0
    m[2], m[4], m[6], m[8], m[10] = 1.0, lo, h, 2 * la, lo * h
    m[12], m[14], m[15], m[16], m[18] = 2 * lo * la, lo * lo, 3 * la * la, h * h, 2 * la * h


@njit(cache=True, nogil=True)
def _monomials_dh(lo: float, la: float, h: float, m: F64) -> None:
    m[:] = 0.0
    m[3], m[5], m[6], m[9], m[10] = 1.0, lo, la, 2 * h, la * lo
    m[13], m[16], m[17], m[18], m[19] = 2 * lo * h, 2 * la * h, lo * lo, la * la, 3 * h * h


@njit(cache=True, nogil=True)
def _project(poly: F64, off: F64, scale: F64, lon: F64, lat: F64, h: F64, col: F64, row: F64) -> None:
    m = np.empty(20)
    for i in range(lon.size):
        dlon = (lon[i] - off[2] + 180.0) % 360.0 - 180.0  # scenes across the antimeridian
        _monomials(dlon / scale[2], (lat[i] - off[3]) / scale[3], (h[i] - off[4]) / scale[4], m)
        col[i] = np.dot(poly[0], m) / np.dot(poly[1], m) * scale[0] + off[0]
        row[i] = np.dot(poly[2], m) / np.dot(poly[3], m) * scale[1] + off[1]


@njit(cache=True, nogil=True)
def _jacobian(poly: F64, off: F64, scale: F64, lon: F64, lat: F64, h: F64, jac: F64) -> None:
    """Quotient rule on both ratios: d(col, row) / d(lon, lat, h) into jac (n, 2, 3)."""
    m, slopes = np.empty(20), np.empty((3, 20))
    for i in range(lon.size):
        x = ((lon[i] - off[2] + 180.0) % 360.0 - 180.0) / scale[2]
        y, z = (lat[i] - off[3]) / scale[3], (h[i] - off[4]) / scale[4]
        _monomials(x, y, z, m)
        _monomials_dlon(x, y, z, slopes[0])
        _monomials_dlat(x, y, z, slopes[1])
        _monomials_dh(x, y, z, slopes[2])
        for k in range(2):
            den = np.dot(poly[2 * k + 1], m)
            value = np.dot(poly[2 * k], m) / den
            for g in range(3):
                slope = (np.dot(poly[2 * k], slopes[g]) - value * np.dot(poly[2 * k + 1], slopes[g])) / den
                jac[i, k, g] = slope * scale[k] / scale[2 + g]


@njit(cache=True, nogil=True)
def _localise(poly: F64, off: F64, scale: F64, col: F64, row: F64, h: F64, lon: F64, lat: F64) -> None:
    """Newton's method on the normalised projection, with its analytic Jacobian."""
    m, mx, my = np.empty(20), np.empty(20), np.empty(20)
    for i in range(col.size):
        c, r = (col[i] - off[0]) / scale[0], (row[i] - off[1]) / scale[1]
        z = (h[i] - off[4]) / scale[4]
        x, y = 0.0, 0.0
        lon[i], lat[i] = np.nan, np.nan
        for _ in range(_NEWTON_STEPS):
            _monomials(x, y, z, m)
            _monomials_dlon(x, y, z, mx)
            _monomials_dlat(x, y, z, my)
            cd, rd = np.dot(poly[1], m), np.dot(poly[3], m)
            cv, rv = np.dot(poly[0], m) / cd, np.dot(poly[2], m) / rd
            cx = (np.dot(poly[0], mx) - cv * np.dot(poly[1], mx)) / cd
            cy = (np.dot(poly[0], my) - cv * np.dot(poly[1], my)) / cd
            rx = (np.dot(poly[2], mx) - rv * np.dot(poly[3], mx)) / rd
            ry = (np.dot(poly[2], my) - rv * np.dot(poly[3], my)) / rd
            det = cx * ry - cy * rx
            if det == 0.0:
                break
            dx, dy = (ry * (c - cv) - cy * (r - rv)) / det, (cx * (r - rv) - rx * (c - cv)) / det
            x, y = x + dx, y + dy
            if not (abs(x) < 100.0 and abs(y) < 100.0):  # far outside the model: it diverges
                break
            if abs(dx) < _CONVERGED and abs(dy) < _CONVERGED:
                lon[i], lat[i] = x * scale[2] + off[2], y * scale[3] + off[3]
                break


@dataclass(frozen=True, eq=False)
class RPC:
    """RPC camera. `offsets` and `scales` follow OFFSETS and SCALES, `poly` (4, 20) follows POLYNOMIALS.

    Offsets of col and row are in the project's pixel frame (integer = centre, (0, 0) = upper-left centre).
    """

    offsets: F64
    scales: F64
    poly: F64
    kind = "rpc"

    def __post_init__(self) -> None:
        for name, shape in (("offsets", (5,)), ("scales", (5,)), ("poly", (4, 20))):
            value = np.ascontiguousarray(getattr(self, name), np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise CameraError(f"RPC {name}", f"not {shape} finite numbers", "check the camera file")
            object.__setattr__(self, name, value)
        if (self.scales == 0).any():
            bad = SCALES[int(np.argmax(self.scales == 0))]
            raise CameraError(f"RPC {bad}", "is zero", "check the camera file")

    @property
    def height_range(self) -> tuple[float, float]:
        return float(self.offsets[4] - abs(self.scales[4])), float(self.offsets[4] + abs(self.scales[4]))

    def project(self, lon: Any, lat: Any, h: Any) -> tuple[F64, F64]:
        return self._apply(_project, lon, lat, h)

    def localise(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        return self._apply(_localise, col, row, h)

    def jacobian(self, lon: Any, lat: Any, h: Any) -> F64:
        """d(col, row) / d(lon, lat, h) at n ground points, (n, 2, 3), in px per degree, per degree and per metre."""
        ground = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (lon, lat, h)))
        flat = [np.ascontiguousarray(a).ravel() for a in ground]
        jac = np.empty((flat[0].size, 2, 3))
        _jacobian(self.poly, self.offsets, self.scales, *flat, jac)
        return jac

    def _apply(self, kernel: Any, *args: Any) -> tuple[F64, F64]:
        a, b, c = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in args))
        u, v = np.empty(a.size), np.empty(a.size)
        flat = (np.ascontiguousarray(x).reshape(-1) for x in (a, b, c))
        kernel(self.poly, self.offsets, self.scales, *flat, u, v)
        return u.reshape(a.shape), v.reshape(a.shape)

    def shifted(self, dcol: float, drow: float) -> RPC:
        return replace(self, offsets=self.offsets - np.array([dcol, drow, 0.0, 0.0, 0.0]))

    def to_dict(self) -> dict[str, Any]:
        values: dict[str, Any] = {"kind": self.kind}
        values |= dict(zip(OFFSETS + SCALES, [*self.offsets.tolist(), *self.scales.tolist()], strict=True))
        return values | dict(zip(POLYNOMIALS, self.poly.tolist(), strict=True))

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: object = "RPC") -> RPC:
        """Read `to_dict`'s form; `where` names the file in errors."""
        for key in OFFSETS + SCALES + POLYNOMIALS:
            if key not in values:
                raise CameraError(where, f"RPC key '{key}' is missing", "check the camera file")
            value = np.asarray(values[key], np.float64)
            if not np.isfinite(value).all() or value.size not in (1, 20):
                raise CameraError(where, f"RPC key '{key}' is not finite or not complete", "check the camera file")
        return cls(
            np.array([values[k] for k in OFFSETS]),
            np.array([values[k] for k in SCALES]),
            np.array([values[k] for k in POLYNOMIALS]),
        )
