"""Pinhole (frame) camera behind the camera interface.

Aerial data sets orient their cameras in a metric ground frame (X, Y, Z), not in longitude and latitude. The camera
carries that frame as a map projection `crs`: X and Y are easting and northing there, Z is the height. `project` and
`localise` go through the projection exactly, and as it cancels between any two cameras of the block, whatever scale it
has at that place does no harm. Where the frame's true place on Earth is unknown (WHU-MVS), LOCAL_CRS stands in: give
the same string as the project's `area.crs` and the products come out in the data set's own X, Y and Z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from rsmvs.errors import CameraError
from rsmvs.types import F64

# A transverse Mercator grid without offset or scale: metres in, metres out, wherever the frame's origin may be.
LOCAL_CRS = "+proj=tmerc +lat_0=0 +lon_0=0 +k=1 +x_0=0 +y_0=0 +ellps=WGS84 +units=m"


@lru_cache(maxsize=16)
def _projection(crs: str) -> Any:
    import pyproj  # RPC-only runs do not pay for the import

    try:
        return pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    except pyproj.exceptions.CRSError as error:
        raise CameraError("pinhole camera", f"'{crs}' is no CRS ({error})", "name the metric CRS of its ground frame") from None


@dataclass(frozen=True, eq=False)
class Pinhole:
    """Pinhole camera without distortion, image axes x right and y down.

    rotation: (3, 3) from the ground frame to the camera (x right, y down, z along the optical axis).
    centre: (3,) projection centre X, Y, Z in metres of `crs`.
    focal: focal length in pixels. principal: (col, row) of the principal point, integer = pixel centre.
    heights: (low, high) in metres for which the camera is valid.
    """

    rotation: F64
    centre: F64
    focal: float
    principal: tuple[float, float]
    heights: tuple[float, float]
    crs: str = LOCAL_CRS
    kind = "pinhole"

    def __post_init__(self) -> None:
        for name, shape in (("rotation", (3, 3)), ("centre", (3,))):
            value = np.ascontiguousarray(getattr(self, name), np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise CameraError(f"pinhole {name}", f"is not {shape} finite numbers", "check the camera file")
            object.__setattr__(self, name, value)
        if not np.allclose(self.rotation @ self.rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(self.rotation) < 0:
            raise CameraError("pinhole rotation", "is no rotation matrix", "check the camera file")
        numbers = (self.focal, *self.principal, *self.heights)
        if not (np.isfinite(numbers).all() and self.focal > 0 and self.heights[0] < self.heights[1]):
            raise CameraError("pinhole camera", f"{numbers} are not focal > 0, principal point, low < high", "check the file")

    @property
    def height_range(self) -> tuple[float, float]:
        return self.heights

    def project(self, lon: Any, lat: Any, h: Any) -> tuple[F64, F64]:
        lon, lat, h = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (lon, lat, h)))
        x, y = _projection(self.crs).transform(lon, lat)
        point = np.stack([np.asarray(x), np.asarray(y), h], axis=-1) - self.centre
        u, v, depth = np.moveaxis(point @ self.rotation.T, -1, 0)
        depth = np.where(depth > 0, depth, np.nan)  # behind the camera there is no image
        return u / depth * self.focal + self.principal[0], v / depth * self.focal + self.principal[1]

    def localise(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        col, row, h = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (col, row, h)))
        ray = np.stack([(col - self.principal[0]) / self.focal, (row - self.principal[1]) / self.focal, np.ones_like(col)], -1)
        ray = ray @ self.rotation
        with np.errstate(divide="ignore", invalid="ignore"):
            depth = (h - self.centre[2]) / ray[..., 2]
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)  # at or above the horizon: no ground point
        x, y = (self.centre[i] + depth * ray[..., i] for i in (0, 1))
        lon, lat = _projection(self.crs).transform(x, y, direction="INVERSE")
        bad = np.isnan(depth)
        return np.where(bad, np.nan, lon), np.where(bad, np.nan, lat)

    def depth(self, lon: Any, lat: Any, h: Any) -> F64:
        """Depth (m, along the optical axis) of ground points: what WHU-MVS stores instead of heights."""
        x, y = _projection(self.crs).transform(lon, lat)
        point = np.stack(np.broadcast_arrays(x, y, h), axis=-1) - self.centre
        return np.asarray(point @ self.rotation[2])

    def height_of_depth(self, col: Any, row: Any, depth: Any) -> F64:
        """Height (m) of pixels at a depth (m) along the optical axis: inverse of `depth` on a line of sight."""
        u, v = (np.asarray(p, np.float64) - o for p, o in zip((col, row), self.principal, strict=True))
        slope = (u * self.rotation[0, 2] + v * self.rotation[1, 2]) / self.focal + self.rotation[2, 2]
        return np.asarray(self.centre[2] + depth * slope)

    def shifted(self, dcol: float, drow: float) -> Pinhole:
        return replace(self, principal=(self.principal[0] - dcol, self.principal[1] - drow))

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "rotation": self.rotation.tolist(), "centre": self.centre.tolist(), "focal": self.focal,
            "principal": list(self.principal), "heights": list(self.heights), "crs": self.crs,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: object = "pinhole camera") -> Pinhole:
        """Read `to_dict`'s form; `where` names the file in errors."""
        for key in ("rotation", "centre", "focal", "principal", "heights", "crs"):
            if key not in values:
                raise CameraError(where, f"pinhole key '{key}' is missing", "check the camera file")
        principal, heights = values["principal"], values["heights"]
        return cls(
            np.array(values["rotation"]), np.array(values["centre"]), float(values["focal"]),
            (float(principal[0]), float(principal[1])), (float(heights[0]), float(heights[1])), str(values["crs"]),
        )  # fmt: skip
