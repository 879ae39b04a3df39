"""How a camera looks at the ground: incidence, azimuth, ground sampling distance, footprint, convergence angle.

Everything follows from the camera interface alone, so it holds for RPC and pinhole cameras: the line of sight of a
pixel is the line through its ground points at two heights.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rsmvs.errors import CameraError
from rsmvs.geometry.ecef import ecef, enu_axes
from rsmvs.types import F64, Camera, View

_HALF_STEP = 10.0  # m of height: long enough for float64, short enough for the line of sight to be straight


class Viewing(NamedTuple):
    """incidence (degrees from the vertical, on the ground), azimuth (degrees clockwise from north, from the ground
    towards the sensor), gsd (m, geometric mean of the two image directions)."""

    incidence: float
    azimuth: float
    gsd: float


def mid_height(camera: Camera) -> float:
    """Middle of the heights (m) for which the camera is valid."""
    low, high = camera.height_range
    return (low + high) / 2


def viewing_angles(camera: Camera, width: int, height: int, h: float | None = None) -> Viewing:
    """Viewing geometry at the centre of an image of that size, at ellipsoidal height h (m; the camera's mid height)."""
    h = mid_height(camera) if h is None else h
    col, row = (width - 1) / 2, (height - 1) / 2
    up = sight_at_pixel(camera, col, row, h)
    incidence = float(np.degrees(np.arctan2(np.hypot(up[0], up[1]), up[2])))
    azimuth = float(np.degrees(np.arctan2(up[0], up[1])) % 360.0)
    lon, lat = camera.localise(col + np.array([-0.5, 0.5, 0, 0]), row + np.array([0, 0, -0.5, 0.5]), h)
    x = ecef(lon, lat, h)
    gsd = float(np.sqrt(np.linalg.norm(x[1] - x[0]) * np.linalg.norm(x[3] - x[2])))
    return Viewing(incidence, azimuth, gsd)


def sight_at_pixel(camera: Camera, col: Any, row: Any, h: Any) -> F64:
    """Unit vectors (..., 3), east-north-up, from the ground at height h (m) towards the sensor.

    Raises CameraError where the pixel has no ground point.
    """
    h = np.asarray(h, np.float64)
    lon0, lat0 = camera.localise(col, row, h - _HALF_STEP)
    lon1, lat1 = camera.localise(col, row, h + _HALF_STEP)
    if not (np.isfinite(lon0).all() and np.isfinite(lon1).all()):
        raise CameraError(
            "camera", f"sees no ground at height {float(h.flat[0]):.0f} m", "check that the camera file belongs to the image"
        )
    step = ecef(lon1, lat1, h + _HALF_STEP) - ecef(lon0, lat0, h - _HALF_STEP)
    sight = np.einsum("...ij,...j->...i", enu_axes(lon0, lat0), step)
    return sight / np.linalg.norm(sight, axis=-1, keepdims=True)


def sight_at_ground(camera: Camera, lon: Any, lat: Any, h: Any) -> F64:
    """Unit vectors (..., 3), east-north-up, from ground points (degrees, degrees, m) towards the sensor."""
    col, row = camera.project(lon, lat, h)
    return sight_at_pixel(camera, col, row, h)


def footprint(
    camera: Camera, width: int, height: int, h: float | None = None, per_edge: int = 1
) -> tuple[tuple[float, float], ...]:
    """Image outline on the ground at height h (m; the camera's mid height), as (lon, lat) in degrees, open ring.

    Corners are those of the outer pixels' area, from the upper left along the rows; `per_edge` points an edge.
    Longitudes are continuous: across the antimeridian they pass 180.
    """
    h = mid_height(camera) if h is None else h
    t = np.arange(per_edge) / per_edge
    one, zero = np.ones_like(t), np.zeros_like(t)
    col = np.concatenate([t, one, 1 - t, zero]) * width - 0.5
    row = np.concatenate([zero, t, one, 1 - t]) * height - 0.5
    lon, lat = camera.localise(col, row, h)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise CameraError(
            "camera", f"sees no ground at height {h:.0f} m in a corner of the image", "check that the camera file belongs to it"
        )
    return tuple(zip(map(float, lon), map(float, lat), strict=True))


def sight_of(view: View) -> F64:
    """Unit vector (3,), east-north-up, towards the sensor from the record's incidence and azimuth."""
    i, a = np.radians(view.incidence), np.radians(view.azimuth)
    return np.array([np.sin(i) * np.sin(a), np.sin(i) * np.cos(a), np.cos(i)])


def convergence_angle(a: View, b: View) -> float:
    """Degrees between the lines of sight of two views at their image centres; `angle_between` for a given place."""
    return float(angle_between(sight_of(a), sight_of(b)))


def angle_between(a: F64, b: F64) -> F64:
    """Degrees between unit vectors (..., 3); exact for small angles too, unlike the arc cosine."""
    return np.degrees(2 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1)))
