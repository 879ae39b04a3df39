"""A lidar point cloud as a surface on the cells of a raster: the reference that most people have."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyproj

from rsmvs.errors import CoverageError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import heights_above, horizontal
from rsmvs.io.layers import DSM, SEMANTIC
from rsmvs.io.pointcloud import NOISE, opened_points, point_chunks
from rsmvs.io.raster import cog_canvas, grid_of, opened

SUFFIXES = (".las", ".laz")
_HIGH_NOISE = 18
_ROWS = 1024  # of the block that is held at once
_MEANING = np.arange(256, dtype=np.uint8)  # LAS class to ours
_MEANING[[0, 1]], _MEANING[[3, 4]] = 0, 5


def highest_points(cloud: str | Path, like: str | Path, out: str | Path, out_classes: str | Path | None = None) -> bool:
    """The highest point of `cloud` in each cell of the raster `like`, as a raster; noise (classes 7, 18) left out.

    out_classes: where the class of that point goes (low and medium vegetation as 5, unclassified as 0; of several points at
    one height the lowest code). Returns whether any point has a class. Points in another CRS are transformed in plan;
    heights stay as they are, and the raster's tag VERTICAL_DATUM says what the CRS of the points tells of them.
    Errors: CoverageError without any point there.
    """
    with opened(like) as src:
        grid = grid_of(src.transform, (src.height, src.width), like)
        plane = horizontal(pyproj.CRS.from_wkt(src.crs.to_wkt())) if src.crs is not None else None
    with opened_points(cloud) as reader:
        crs = reader.header.parse_crs()
    datum = heights_above(crs) if crs is not None else None
    move = None
    if crs is not None and plane is not None and not horizontal(crs).equals(plane, ignore_axis_order=True):
        move = pyproj.Transformer.from_crs(horizontal(crs), plane, always_xy=True)
    found = classified = False
    wkt, tags = plane.to_wkt() if plane is not None else None, {"VERTICAL_DATUM": datum} if datum else {}
    with ExitStack() as files:
        surface = files.enter_context(cog_canvas(out, grid, DSM, crs=wkt, tags=tags))
        labels = files.enter_context(cog_canvas(out_classes, grid, SEMANTIC, crs=wkt, tags={})) if out_classes else None
        for row in range(0, grid.height, _ROWS):
            block = Grid(grid.x0, grid.y0 - row * grid.step, grid.step, grid.width, min(_ROWS, grid.height - row))
            heights, classes = _highest(cloud, block, move)
            found |= bool(np.isfinite(heights).any())
            classified |= bool(classes.any())
            surface.write(heights, block)
            if labels is not None:
                labels.write(classes, block)
        if not found:
            raise CoverageError(cloud, f"has no point in the area of {like}", "check its CRS and area")
    return classified


def _highest(cloud: str | Path, block: Grid, move: pyproj.Transformer | None) -> tuple[np.ndarray, np.ndarray]:
    """Heights (h, w) m, NaN without a point, and classes (h, w) of the highest points of a block."""
    top = np.full(block.width * block.height, -np.inf, np.float32)
    classes = np.zeros(top.shape, np.uint8)
    for points in point_chunks(cloud):
        kept = ~np.isin(points.classification, (NOISE, _HIGH_NOISE))
        (x, y, z), labels = points.xyz[kept].T, _MEANING[points.classification[kept]]
        if move is not None:
            x, y = move.transform(x, y)
        col, row = np.floor((x - block.x0) / block.step), np.floor((block.y0 - y) / block.step)
        inside = (col >= 0) & (col < block.width) & (row >= 0) & (row < block.height)
        cell = (row[inside] * block.width + col[inside]).astype(np.int64)
        z, labels = z[inside].astype(np.float32), labels[inside]
        order = np.lexsort((-labels.astype(np.int16), z, cell))
        last = order[np.flatnonzero(np.diff(cell[order], append=-1))]  # the highest of each cell
        at, z, labels = cell[last], z[last], labels[last]
        wins = (z > top[at]) | ((z == top[at]) & (labels < classes[at]))
        top[at[wins]], classes[at[wins]] = z[wins], labels[wins]
    heights = np.where(np.isfinite(top), top, np.float32(np.nan))
    return heights.reshape(block.shape), classes.reshape(block.shape)
