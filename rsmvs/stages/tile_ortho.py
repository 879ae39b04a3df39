"""The pictures of a tile: its orthoimage, and the colours of its points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsmvs.fusion.ortho import Bands, Look, colours_at, orthoimage
from rsmvs.geometry.grid import Bounds, Grid
from rsmvs.geometry.ground import ring_lon_lat
from rsmvs.geometry.windows import window_of_area
from rsmvs.io.colour import NAMES, ColourImage, colour_image, full_scale
from rsmvs.io.raster import opened, read_image, read_pixels
from rsmvs.stages.tile import Layer, field_onto
from rsmvs.types import F32, F64, Window

_MARGIN = 4  # px read around what a colour image shows of the grid
_MOST = 65535  # of 16 bits


@dataclass(frozen=True)
class Pictures:
    """What the references of a tile show. grid: whose cells the looks count. dtype: of the images. names: of the bands.
    full: largest value of the images' bit depth, None for floats."""

    grid: Grid
    looks: list[Look]
    dtype: Any
    names: tuple[str, ...]
    full: float | None

    def ortho(self, surface: F32, hidden: float) -> Any:
        """(b, h, w) of a surface (m) on the grid, as the images are: whole numbers with 0 where nothing is known, or floats."""
        return self._stored(orthoimage(surface, self.looks, hidden))

    def colours(self, xyz: F64, hidden: float) -> NDArray[np.uint16] | None:
        """(n, 3) of points (x, y, height), stretched from the images' bit depth to 16 bits as LAS wants them, grey three
        times; None of floats."""
        if self.full is None:
            return None
        col, row = (xyz[:, 0] - self.grid.x0) / self.grid.step - 0.5, (self.grid.y0 - xyz[:, 1]) / self.grid.step - 0.5
        values = np.nan_to_num(colours_at(self.looks, col, row, xyz[:, 2], hidden)).T * (_MOST / self.full)
        return np.broadcast_to(np.clip(np.rint(values), 0, _MOST), (len(xyz), 3)).astype(np.uint16)

    def _stored(self, values: F32) -> Any:
        if not np.issubdtype(self.dtype, np.integer):
            return values
        dtype, most = (np.uint8, 255) if self.dtype == np.uint8 else (np.uint16, _MOST)
        whole = np.clip(np.nan_to_num(np.rint(values), nan=1.0), 1, most)  # 0 says: nothing known
        return np.where(np.isfinite(values), whole, 0).astype(dtype)


def pictures_of(layers: list[Layer], crs: str, height_range: tuple[float, float], grid: Grid) -> Pictures:
    """The references of a tile in the order in which they are asked: those with colours first, steep before oblique."""
    found = [(colour_image(layer.view), layer) for layer in layers]
    found.sort(key=lambda x: (x[0] is None, x[1].view.incidence, x[1].view.id))
    looks = [_look(layer, colour, crs, height_range, grid) for colour, layer in found]
    colour, layer = found[0]
    path = colour.view.path if colour else layer.view.path
    with opened(path) as src:
        dtype = np.dtype(src.dtypes[0])
    return Pictures(grid, looks, dtype, NAMES if colour else ("ortho",), full_scale(path))


def _look(layer: Layer, colour: ColourImage | None, crs: str, height_range: tuple[float, float], grid: Grid) -> Look:
    field = field_onto(layer.view, layer.window, grid, crs, height_range)
    look = Look(read_image(layer.view, layer.window), layer.bands["height"], field)
    if colour is None:
        return look
    if colour.view.path == layer.view.path:
        return look._replace(colour=Bands(read_pixels(colour.view, layer.window, colour.bands), look.field))
    window = _seen_part(colour, crs, grid.bounds, height_range)
    field = field_onto(colour.view, window, grid, crs, height_range)
    return look._replace(colour=Bands(read_pixels(colour.view, window, colour.bands), field))


def _seen_part(colour: ColourImage, crs: str, bounds: Bounds, height_range: tuple[float, float]) -> Window:
    """At least a pixel, so that a colour image that does not reach the tile is a look that sees nothing."""
    window = window_of_area(colour.view.camera, *ring_lon_lat(crs, bounds), height_range).grown(_MARGIN)
    window = window.clipped(colour.view.width, colour.view.height)
    return Window(window.col, window.row, max(window.width, 2), max(window.height, 2))
