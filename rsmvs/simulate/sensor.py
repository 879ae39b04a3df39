"""A virtual pushbroom satellite: exact lines of sight, and the RPC a vendor would deliver for them.

The satellite flies a circular orbit. Its camera sees one line across the flight direction; attitude is constant with
respect to the orbit, pitched and rolled so that the image centre falls on the target. Line rate and detector pitch are
such that pixels are square on the ground at the image centre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rsmvs.errors import CameraError
from rsmvs.geometry.ecef import SEMI_MAJOR, ecef, enu_axes, geodetic
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.rpc_fit import fit_rpc
from rsmvs.simulate.options import ViewOptions
from rsmvs.types import F64

MAX_RESIDUAL_PX = 0.02


@dataclass(frozen=True, eq=False)
class Pushbroom:
    """Exact camera. Positions and axes in ECEF at the time of the middle line.

    position: (3,) m; axis: (3,) unit normal of the orbit; sight: (3,) unit vector of the middle pixel;
    across: (3,) unit vector of growing col; pitch: detector pitch in tangent units per px; rate: orbit angle per line (rad).
    """

    position: F64
    axis: F64
    sight: F64
    across: F64
    pitch: float
    rate: float
    centre: tuple[float, float]  # (col, row) that looks at the target

    def rays(self, col: Any, row: Any) -> tuple[F64, F64]:
        """Origins and unit directions (..., 3) in ECEF of pixels (col, row)."""
        col, row = np.broadcast_arrays(np.asarray(col, np.float64), np.asarray(row, np.float64))
        look = self.sight + ((col - self.centre[0]) * self.pitch)[..., None] * self.across
        look /= np.linalg.norm(look, axis=-1, keepdims=True)
        angle = (row - self.centre[1]) * self.rate
        return _rotate(np.broadcast_to(self.position, look.shape), self.axis, angle), _rotate(look, self.axis, angle)

    def localise(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        """(lon, lat) in degrees where the line of sight of (col, row) has ellipsoidal height h (m)."""
        col, row, h = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (col, row, h)))
        origin, look = self.rays(col, row)
        t = _sphere_distance(origin, look, SEMI_MAJOR + h)
        for _ in range(4):  # Newton on the height along the ray; the first guess is kilometres off at high latitudes
            lon, lat, z = geodetic(origin + t[..., None] * look)
            up = enu_axes(lon, lat)[..., 2, :]
            t = t - (z - h) / np.einsum("...i,...i->...", up, look)
        lon, lat, _ = geodetic(origin + t[..., None] * look)
        return lon, lat


def _rotate(v: F64, axis: F64, angle: F64) -> F64:
    """Rodrigues' rotation of vectors (..., 3) about a unit axis."""
    c, s = np.cos(angle)[..., None], np.sin(angle)[..., None]
    return v * c + np.cross(axis, v) * s + axis * (v @ axis)[..., None] * (1 - c)


def _sphere_distance(origin: F64, look: F64, radius: F64) -> F64:
    b = np.einsum("...i,...i->...", origin, look)
    c = np.einsum("...i,...i->...", origin, origin) - radius**2
    return -b - np.sqrt(np.maximum(b * b - c, 0.0))


def pushbroom(target: tuple[float, float, float], size: tuple[int, int], options: ViewOptions) -> Pushbroom:
    """The camera whose middle pixel of an image of `size` (width, height) sees `target` (lon, lat, ellipsoidal m)."""
    ground = ecef(*target)
    axes = enu_axes(target[0], target[1])
    i, a, heading = (np.radians(v) for v in (options.incidence, options.azimuth, options.heading))
    to_sensor = np.array([np.sin(i) * np.sin(a), np.sin(i) * np.cos(a), np.cos(i)]) @ axes
    orbit = float(np.linalg.norm(ground)) + options.altitude * 1000.0
    b = float(ground @ to_sensor)
    distance = -b + np.sqrt(b * b - ground @ ground + orbit**2)
    position = ground + distance * to_sensor
    flight = np.array([np.sin(heading), np.cos(heading), 0.0]) @ axes
    flight -= position * (flight @ position) / (position @ position)  # level at the satellite
    flight /= np.linalg.norm(flight)
    sight = -to_sensor
    across = np.cross(flight, sight)
    across /= np.linalg.norm(across)
    axis = np.cross(position, flight)
    axis /= np.linalg.norm(axis)
    centre = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    unit = Pushbroom(position, axis, sight, across, 1.0 / float(distance), 1.0 / orbit, centre)  # about one metre a pixel
    c, r = centre[0] + np.array([-0.5, 0.5, 0, 0]), centre[1] + np.array([0, 0, -0.5, 0.5])
    x = ecef(*unit.localise(c, r, target[2]), target[2])
    step_col, step_row = np.linalg.norm(x[1] - x[0]), np.linalg.norm(x[3] - x[2])
    pitch, rate = unit.pitch * options.gsd / step_col, unit.rate * options.gsd / step_row
    return Pushbroom(position, axis, sight, across, float(pitch), float(rate), centre)


def vendor_rpc(camera: Pushbroom, size: tuple[int, int], height_range: tuple[float, float]) -> tuple[RPC, float]:
    """RPC over an image of `size` (width, height) and heights (m), and its largest residual in pixels, measured on
    points between the fitted ones as well."""

    def volume(nx: int, ny: int, nz: int) -> tuple[F64, F64, F64, F64, F64]:
        col, row, h = (
            a.ravel()
            for a in np.meshgrid(
                np.linspace(-0.5, size[0] - 0.5, nx), np.linspace(-0.5, size[1] - 0.5, ny), np.linspace(*height_range, nz)
            )
        )
        lon, lat = camera.localise(col, row, h)
        return lon, lat, h, col, row

    lon, lat, h, col, row = volume(9, 9, 5)
    rpc, worst = fit_rpc(lon, lat, h, col, row)
    lon, lat, h, col, row = volume(8, 8, 4)
    u, v = rpc.project(lon, lat, h)
    worst = max(worst, float(np.hypot(u - col, v - row).max()))
    if worst > MAX_RESIDUAL_PX:
        raise CameraError("simulated view", f"its RPC is {worst:.3f} px off", "narrow the height range or the incidence")
    return rpc, worst
