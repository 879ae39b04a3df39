"""Ground grids: the lattice of tiles, and raster grids in a projected CRS.

The lattice hangs on the origin of the CRS, not on the area of interest: a larger area keeps its old tiles, and two
areas share theirs. A tile's name is its place in the lattice. Light to import: the Snakefile uses it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Grid:
    """A raster grid: the upper-left *corner* (x0, y0), square cells of `step` metres, north up."""

    x0: float
    y0: float
    step: float
    width: int
    height: int

    @property
    def bounds(self) -> Bounds:
        """(xmin, ymin, xmax, ymax) in metres."""
        return self.x0, self.y0 - self.height * self.step, self.x0 + self.width * self.step, self.y0

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @classmethod
    def covering(cls, bounds: Bounds, step: float) -> Grid:
        """The smallest grid over `bounds` whose cells lie on multiples of `step`."""
        c0, r0 = math.floor(bounds[0] / step + 1e-9), math.floor(bounds[1] / step + 1e-9)
        c1, r1 = math.ceil(bounds[2] / step - 1e-9), math.ceil(bounds[3] / step - 1e-9)
        return cls(c0 * step, r1 * step, step, c1 - c0, r1 - r0)

    def offset_of(self, other: Grid) -> tuple[int, int]:
        """(col, row) in this grid of the first cell of `other`, a grid on the same lattice of cells."""
        return round((other.x0 - self.x0) / self.step), round((self.y0 - other.y0) / self.step)

    def grown(self, cells: int) -> Grid:
        d = cells * self.step
        return Grid(self.x0 - d, self.y0 + d, self.step, self.width + 2 * cells, self.height + 2 * cells)


    def around(self, rim: int, multiple: int = 1) -> tuple[Grid, tuple[slice, slice]]:
        """A grid that reaches `rim` cells or a little further, and (rows, columns) of this one in it.

        It starts on a multiple of so many cells in the lattice of cells, so that all grids share their coarser cells.
        """
        left = rim + (round(self.x0 / self.step) - rim) % multiple
        top = rim + (round(-self.y0 / self.step) - rim) % multiple
        grid = Grid(self.x0 - left * self.step, self.y0 + top * self.step, self.step, self.width + left + rim,
                    self.height + top + rim)  # fmt: skip
        return grid, (slice(top, top + self.height), slice(left, left + self.width))


@dataclass(frozen=True)
class Tile:
    """One square of the lattice, `size` metres wide, its lower-left corner at (ix, iy) * size."""

    ix: int
    iy: int
    size: float

    @property
    def name(self) -> str:
        return f"x{self.ix}_y{self.iy}"

    @property
    def bounds(self) -> Bounds:
        s = self.size
        return self.ix * s, self.iy * s, (self.ix + 1) * s, (self.iy + 1) * s

    @classmethod
    def from_name(cls, name: str, size: float) -> Tile:
        found = re.fullmatch(r"x(-?\d+)_y(-?\d+)", name)
        if not found:
            raise ValueError(f"'{name}' is no tile name")
        return cls(int(found[1]), int(found[2]), size)


def tiles_of(area: Any, size: float) -> list[Tile]:
    """Tiles of `size` metres that meet `area`, sorted by name.

    area: (xmin, ymin, xmax, ymax), or a polygon as a list of (x, y) vertices, in metres of the project's CRS. A
    touching border does not count.
    """
    polygon = None
    if not (len(area) == 4 and all(isinstance(v, int | float) for v in area)):
        from shapely.geometry import Polygon, box  # only polygons pay for the import
        from shapely.prepared import prep

        polygon = Polygon(area)
        inside = prep(polygon.buffer(-1e-6 * size))
        area = polygon.bounds
    x0, y0 = math.floor(area[0] / size + 1e-9), math.floor(area[1] / size + 1e-9)
    x1, y1 = math.ceil(area[2] / size - 1e-9), math.ceil(area[3] / size - 1e-9)
    tiles = [Tile(ix, iy, size) for iy in range(y0, y1) for ix in range(x0, x1)]
    if polygon is not None:
        tiles = [t for t in tiles if inside.intersects(box(*t.bounds))]
    return sorted(tiles, key=lambda t: t.name)
