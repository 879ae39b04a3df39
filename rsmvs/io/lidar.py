"""A lidar point cloud as a surface on the cells of a raster: the reference that most people have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj

from rsmvs.errors import CoverageError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import horizontal
from rsmvs.io.layers import DSM
from rsmvs.io.pointcloud import NOISE, opened_points, point_chunks
from rsmvs.io.raster import cog_canvas, grid_of, opened

SUFFIXES = (".las", ".laz")
_HIGH_NOISE = 18
_ROWS = 1024  # of the block that is held at once


def highest_points(cloud: str | Path, like: str | Path, out: str | Path) -> None:
    """The highest point of `cloud` in each cell of the raster `like`, as a raster; noise (classes 7, 18) left out.

    Points in another CRS are transformed in plan; heights stay as they are. Errors: CoverageError without any point there.
    """
    with opened(like) as src:
        grid = grid_of(src.transform, (src.height, src.width), like)
        wkt = src.crs.to_wkt() if src.crs is not None else None
    own = _plane(cloud)
    move = None
    if own is not None and wkt is not None:
        plane = horizontal(pyproj.CRS.from_wkt(wkt))
        if not own.equals(plane, ignore_axis_order=True):
            move = pyproj.Transformer.from_crs(own, plane, always_xy=True)
    found = False
    with cog_canvas(out, grid, DSM, crs=wkt, tags={}) as canvas:
        for row in range(0, grid.height, _ROWS):
            block = Grid(grid.x0, grid.y0 - row * grid.step, grid.step, grid.width, min(_ROWS, grid.height - row))
            heights = _highest(cloud, block, move)
            found |= bool(np.isfinite(heights).any())
            canvas.write(heights, block)
        if not found:
            raise CoverageError(cloud, f"has no point in the area of {like}", "check its CRS and area")


def _plane(cloud: str | Path) -> pyproj.CRS | None:
    with opened_points(cloud) as reader:
        crs = reader.header.parse_crs()
    return None if crs is None else horizontal(crs)


def _highest(cloud: str | Path, block: Grid, move: pyproj.Transformer | None) -> np.ndarray:
    out = np.full(block.width * block.height, -np.inf, np.float32)
    for points in point_chunks(cloud):
        x, y, z = points.xyz[~np.isin(points.classification, (NOISE, _HIGH_NOISE))].T
        if move is not None:
            x, y = move.transform(x, y)
        col, row = np.floor((x - block.x0) / block.step), np.floor((block.y0 - y) / block.step)
        inside = (col >= 0) & (col < block.width) & (row >= 0) & (row < block.height)
        np.maximum.at(out, (row[inside] * block.width + col[inside]).astype(np.int64), z[inside].astype(np.float32))
    return np.where(np.isfinite(out), out, np.float32(np.nan)).reshape(block.shape)
