"""The ground plane of the products: a projected CRS, its rasters seen as a camera, and areas in degrees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pyproj import Transformer

from rsmvs.geometry.grid import Bounds, Grid
from rsmvs.types import F64


@lru_cache(maxsize=8)
def to_lon_lat(crs: str) -> Any:
    """pyproj Transformer from a projected CRS to longitude and latitude."""
    return Transformer.from_crs(crs, "EPSG:4326", always_xy=True)


def ring_lon_lat(crs: str, bounds: Bounds, points: int = 5) -> tuple[F64, F64]:
    """Outline of a rectangle of the CRS with `points` per side, in degrees."""
    t = np.linspace(0, 1, points)
    xmin, ymin, xmax, ymax = bounds
    x = np.concatenate([xmin + t * (xmax - xmin), np.full(points, xmax), xmax - t * (xmax - xmin), np.full(points, xmin)])
    y = np.concatenate([np.full(points, ymin), ymin + t * (ymax - ymin), np.full(points, ymax), ymax - t * (ymax - ymin)])
    lon, lat = to_lon_lat(crs).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def map_projection(crs: str) -> Any:
    """(lon, lat, h) -> (x, y) of a projected CRS: a target of warp fields."""
    back = to_lon_lat(crs)

    def project(lon: F64, lat: F64, h: F64) -> tuple[F64, F64]:
        x, y = back.transform(lon, lat, direction="INVERSE")
        return np.asarray(x), np.asarray(y)

    return project


@dataclass(frozen=True)
class GridCamera:
    """A ground grid as a camera that looks straight down: cell (col, row) sees the same (x, y) at every height.

    It lets a warp field lead from the grid into an image, as it leads from one image into another.
    """

    crs: str
    grid: Grid
    kind = "grid"
    height_range = (-1000.0, 10000.0)

    def localise(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        col, row, _ = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (col, row, h)))
        x = self.grid.x0 + (col + 0.5) * self.grid.step
        y = self.grid.y0 - (row + 0.5) * self.grid.step
        lon, lat = to_lon_lat(self.crs).transform(x, y)
        return np.asarray(lon), np.asarray(lat)

    def project(self, lon: Any, lat: Any, h: Any) -> tuple[F64, F64]:
        x, y = map_projection(self.crs)(lon, lat, h)
        return (x - self.grid.x0) / self.grid.step - 0.5, (self.grid.y0 - y) / self.grid.step - 0.5

    def shifted(self, dcol: float, drow: float) -> GridCamera:
        raise NotImplementedError("a ground grid is not cropped")

    def to_dict(self) -> dict[str, Any]:
        raise NotImplementedError("a ground grid is no camera of an image")
