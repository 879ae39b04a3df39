"""Heights of a reference DEM at ground points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pyproj import Transformer
from rasterio.windows import Window as RioWindow
from rasterio.windows import from_bounds

from rsmvs.errors import ImageError
from rsmvs.io.raster import opened
from rsmvs.types import F64


def dem_heights(path: str | Path, lon: F64, lat: F64, offset: float) -> Callable[[F64, F64], F64]:
    """height_of(lon, lat) -> ellipsoidal metres (n,), bilinear between cell centres, NaN outside or without data.

    Only the part of the DEM around the given points (degrees) is read. `offset` (m) is added to its heights.
    """
    with opened(path) as src:
        if src.crs is None:
            raise ImageError(path, "has no coordinate reference system", "give a georeferenced DEM as reference.dem")
        there = Transformer.from_crs("EPSG:4326", src.crs, always_xy=True)
        x, y = there.transform(lon, lat)
        margin = 8 * max(abs(src.transform.a), abs(src.transform.e))
        part = from_bounds(x.min() - margin, y.min() - margin, x.max() + margin, y.max() + margin, src.transform)
        c0, r0 = max(int(part.col_off), 0), max(int(part.row_off), 0)
        c1 = min(int(np.ceil(part.col_off + part.width)), src.width)
        r1 = min(int(np.ceil(part.row_off + part.height)), src.height)
        if c1 - c0 < 2 or r1 - r0 < 2:
            raise ImageError(path, "does not cover the images", "check reference.dem")
        window = RioWindow(c0, r0, c1 - c0, r1 - r0)  # type: ignore[call-arg]
        values = np.where(src.read_masks(1, window=window) > 0, src.read(1, window=window).astype(np.float64), np.nan)
        inverse = ~src.window_transform(window)

    def height_of(lon: F64, lat: F64) -> F64:
        x, y = there.transform(lon, lat)
        col = inverse.a * np.asarray(x) + inverse.b * np.asarray(y) + inverse.c
        row = inverse.d * np.asarray(x) + inverse.e * np.asarray(y) + inverse.f
        return _bilinear(values, col - 0.5, row - 0.5) + offset

    return height_of


def _bilinear(values: F64, col: F64, row: F64) -> F64:
    h, w = values.shape
    inside = (col >= 0) & (row >= 0) & (col <= w - 1) & (row <= h - 1)
    j = np.clip(np.nan_to_num(col), 0, w - 1.000001).astype(int)
    i = np.clip(np.nan_to_num(row), 0, h - 1.000001).astype(int)
    a, b = col - j, row - i
    low = values[i, j] * (1 - a) + values[i, j + 1] * a
    high = values[i + 1, j] * (1 - a) + values[i + 1, j + 1] * a
    return np.where(inside, low * (1 - b) + high * b, np.nan)
