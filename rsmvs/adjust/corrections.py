"""From image-space corrections to cameras in standard form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rsmvs.adjust.bundle import correction_at
from rsmvs.errors import CameraError
from rsmvs.geometry.derivatives import projection_jacobian
from rsmvs.geometry.rpc_fit import refit_rpc
from rsmvs.types import F64, Camera


@dataclass(frozen=True, eq=False)
class CorrectedCamera:
    """A camera followed by a correction (6,) of its pixels, as in `bundle`; exact, both ways."""

    camera: Camera
    correction: F64
    centre: F64
    half: float

    def project(self, lon: Any, lat: Any, h: Any) -> tuple[F64, F64]:
        uv = np.stack(self.camera.project(lon, lat, h), axis=-1)
        uv = uv + correction_at(self.correction, (uv - self.centre) / self.half)
        return uv[..., 0], uv[..., 1]

    def localise(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        drift = np.eye(2) + self.correction[2:].reshape(2, 2) / self.half
        uv = np.stack(np.broadcast_arrays(np.asarray(col, np.float64), row), axis=-1)
        uv = self.centre + (uv - self.centre - self.correction[:2]) @ np.linalg.inv(drift).T
        return self.camera.localise(uv[..., 0], uv[..., 1], h)


def corrected_camera(camera: Camera, width: int, height: int, correction: F64) -> tuple[Camera, float]:
    """The camera with the correction (6,) built in, and the error of that in px.

    A shift goes into the camera's offsets and is exact. A drift is fitted by a new RPC over the image and the heights for
    which the camera is valid. Raises CameraError where the camera has no ground in some part of that volume.
    """
    if not correction[2:].any():
        return camera.shifted(float(-correction[0]), float(-correction[1])), 0.0
    centre = np.array([width - 1, height - 1]) / 2
    exact = CorrectedCamera(camera, correction, centre, max(width, height) / 2)
    return refit_rpc(exact.project, exact.localise, width, height, camera.height_range)


def companion_camera(camera: Camera, companion: Camera, width: int, height: int, correction: F64) -> Camera:
    """The camera of another image of the same acquisition (colour), moved by as much on the ground as the correction.

    Position and attitude of the platform are shared, so is their error; a drift's effect at the image centre counts.
    """
    h = sum(camera.height_range) / 2
    lon, lat = camera.localise((width - 1) / 2, (height - 1) / 2, h)
    if not np.isfinite(lon).all():
        raise CameraError("camera", f"sees no ground at height {h:.0f} m", "check that the camera file belongs to the image")
    own, other = (projection_jacobian(c, lon, lat, h)[0, :, :2] for c in (camera, companion))
    shift = other @ np.linalg.solve(own, correction[:2])
    return companion.shifted(float(-shift[0]), float(-shift[1]))
