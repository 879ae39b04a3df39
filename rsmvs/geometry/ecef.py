"""Longitude, latitude and ellipsoidal height to Earth-centred and to local east-north-up metres (WGS 84)."""

from __future__ import annotations

from typing import Any

import numpy as np

from rsmvs.types import F64

SEMI_MAJOR = 6378137.0  # m, WGS 84
FLATTENING = 1.0 / 298.257223563
_E2 = FLATTENING * (2.0 - FLATTENING)


def ecef(lon: Any, lat: Any, h: Any) -> F64:
    """Earth-centred, Earth-fixed coordinates in metres, (..., 3)."""
    lon, lat, h = np.broadcast_arrays(np.radians(lon), np.radians(lat), np.asarray(h, np.float64))
    n = SEMI_MAJOR / np.sqrt(1.0 - _E2 * np.sin(lat) ** 2)  # radius of curvature in the prime vertical
    flat = (n + h) * np.cos(lat)
    return np.stack([flat * np.cos(lon), flat * np.sin(lon), (n * (1.0 - _E2) + h) * np.sin(lat)], axis=-1)


def enu_axes(lon: Any, lat: Any) -> F64:
    """Unit vectors east, north, up in ECEF, (..., 3 axes, 3): `enu_axes(lon, lat) @ v` turns an ECEF difference v."""
    lon, lat = np.broadcast_arrays(np.radians(lon), np.radians(lat))
    sl, cl, sp, cp, zero = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat), np.zeros_like(lon)
    east = np.stack([-sl, cl, zero], axis=-1)
    north = np.stack([-sp * cl, -sp * sl, cp], axis=-1)
    up = np.stack([cp * cl, cp * sl, sp], axis=-1)
    return np.stack([east, north, up], axis=-2)


def geodetic(xyz: Any) -> tuple[F64, F64, F64]:
    """(lon, lat in degrees, ellipsoidal height in m) of ECEF points (..., 3): inverse of `ecef`.

    Source: Bowring (1976), the parametric latitude iterated twice: below 1e-9 m from the ground to low orbits.
    """
    x, y, z = np.moveaxis(np.asarray(xyz, np.float64), -1, 0)
    flat = np.hypot(x, y)
    minor, second = SEMI_MAJOR * (1.0 - FLATTENING), _E2 / (1.0 - _E2)
    beta = np.arctan2(z * SEMI_MAJOR, flat * minor)
    for _ in range(2):
        lat = np.arctan2(z + second * minor * np.sin(beta) ** 3, flat - _E2 * SEMI_MAJOR * np.cos(beta) ** 3)
        beta = np.arctan2((1.0 - FLATTENING) * np.sin(lat), np.cos(lat))
    n = SEMI_MAJOR / np.sqrt(1.0 - _E2 * np.sin(lat) ** 2)
    h = flat * np.cos(lat) + z * np.sin(lat) - SEMI_MAJOR**2 / n  # holds at the poles too
    return np.degrees(np.arctan2(y, x)), np.degrees(lat), h
