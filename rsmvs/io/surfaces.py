"""Rasters read at ground points of another grid: heights and labels of one product on the cells of the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
from rasterio.windows import Window as RioWindow

from rsmvs.geometry.vertical import heights_above, horizontal
from rsmvs.io.raster import opened
from rsmvs.types import F64, Window

IMPLAUSIBLE = 12_000.0  # m: values past any height on Earth are no-data of files that do not say so


@dataclass(frozen=True)
class Surface:
    """An opened raster, seen from points (x, y) in `crs` (2-D, pyproj; None: the raster's own)."""

    dataset: Any
    crs: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.dataset.height, self.dataset.width

    def blocks(self, size: int = 1024) -> Iterator[Window]:
        """Windows of at most size x size pixels that cover the raster, in row-major order."""
        height, width = self.shape
        for row in range(0, height, size):
            for col in range(0, width, size):
                yield Window(col, row, min(size, width - col), min(size, height - row))

    def centres(self, window: Window) -> tuple[F64, F64]:
        """(x, y) in the raster's own CRS of the pixel centres of a window, each (h, w)."""
        rows, cols = np.indices(window.shape, dtype=np.float64)
        t = self.dataset.transform
        cols, rows = cols + window.col + 0.5, rows + window.row + 0.5
        return t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f

    def read(self, window: Window, band: int = 1) -> F64:
        """Values (h, w) of a window, NaN outside the raster and without data."""
        out = np.full(window.shape, np.nan)
        part = window.clipped(self.dataset.width, self.dataset.height)
        if part.width == 0 or part.height == 0:
            return out
        area = RioWindow(part.col, part.row, part.width, part.height)  # type: ignore[call-arg]
        values = self.dataset.read(band, window=area).astype(np.float64)
        values[self.dataset.read_masks(band, window=area) == 0] = np.nan
        values[~(np.abs(values) <= IMPLAUSIBLE)] = np.nan
        row, col = part.row - window.row, part.col - window.col
        out[row : row + part.height, col : col + part.width] = values
        return out

    def read_labels(self, window: Window) -> Any:
        """Labels (h, w) of a window wholly inside the raster."""
        area = RioWindow(window.col, window.row, window.width, window.height)  # type: ignore[call-arg]
        return self.dataset.read(1, window=area)

    def to_pixel(self, x: Any, y: Any) -> tuple[F64, F64]:
        """Pixel (col, row), integer = centre, of points in `crs`."""
        if self.crs is not None and self.dataset.crs is not None:
            own = plane_crs(self)
            if not own.equals(self.crs, ignore_axis_order=True):
                x, y = pyproj.Transformer.from_crs(self.crs, own, always_xy=True).transform(x, y)
        inverse = ~self.dataset.transform
        col = inverse.a * np.asarray(x) + inverse.b * np.asarray(y) + inverse.c - 0.5
        row = inverse.d * np.asarray(x) + inverse.e * np.asarray(y) + inverse.f - 0.5
        return col, row

    def window_around(self, col: F64, row: F64, margin: int = 2) -> Window:
        """The window of pixels around (col, row), not clipped to the raster on purpose: `read` gives NaN outside.

        Points far outside the raster do not widen it.
        """
        height, width = self.shape
        c0, c1 = (math.floor(np.clip(v, -1, width)) for v in (np.min(col), np.max(col)))
        r0, r1 = (math.floor(np.clip(v, -1, height)) for v in (np.min(row), np.max(row)))
        return Window(c0 - margin, r0 - margin, c1 - c0 + 2 * margin + 2, r1 - r0 + 2 * margin + 2)

    def labels_at(self, x: F64, y: F64) -> Any:
        """Label of the pixel that holds each point; 0 outside the raster."""
        return self._nearest(x, y, self.read_labels, np.zeros(np.shape(x), np.int64))

    def values_at(self, x: F64, y: F64) -> F64:
        """Value of the pixel that holds each point; NaN outside the raster and without data."""
        return self._nearest(x, y, self.read, np.full(np.shape(x), np.nan))

    def _nearest(self, x: F64, y: F64, read: Any, out: Any) -> Any:
        col, row = (np.floor(v + 0.5).astype(np.int64) for v in self.to_pixel(x, y))
        height, width = self.shape
        inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
        if inside.any():
            c0, r0 = int(col[inside].min()), int(row[inside].min())
            window = Window(c0, r0, int(col[inside].max()) - c0 + 1, int(row[inside].max()) - r0 + 1)
            out[inside] = read(window)[row[inside] - r0, col[inside] - c0]
        return out


@contextmanager
def opened_surface(path: str | Path, crs: Any = None) -> Iterator[Surface]:
    """A raster as a `Surface`; ImageError when it cannot be read."""
    with opened(path) as dataset:
        yield Surface(dataset, crs)


def plane_crs(surface: Surface) -> Any:
    """The horizontal CRS (pyproj) of a raster, None where it has none."""
    if surface.dataset.crs is None:
        return None
    return horizontal(pyproj.CRS.from_wkt(surface.dataset.crs.to_wkt()))


def vertical_datum(surface: Surface) -> str | None:
    """What a raster's heights count from: its tag VERTICAL_DATUM, else its CRS; None where neither tells."""
    tag = surface.dataset.tags().get("VERTICAL_DATUM")
    if tag or surface.dataset.crs is None:
        return tag or None
    return heights_above(pyproj.CRS.from_wkt(surface.dataset.crs.to_wkt()))
