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
