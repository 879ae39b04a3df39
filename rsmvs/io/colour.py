"""The colours of a view: bands of the image itself, or of a colour image of the same acquisition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.enums import ColorInterp
from rasterio.windows import Window as RioWindow

from rsmvs.errors import ImageError
from rsmvs.io.raster import opened
from rsmvs.types import View

NAMES = ("red", "green", "blue")
_PLACES, _SIDE = 4, 64  # of an image of unknown bit depth are looked at: 4 x 4 windows of 64 x 64 px


@dataclass(frozen=True)
class ColourImage:
    """view: with the path, camera and size of the image that holds the colours. bands: numbers, in the order of NAMES."""

    view: View
    bands: tuple[int, ...]


def colour_image(view: View) -> ColourImage | None:
    """Where a view's colours are; None for one that has only grey values.

    The bands are those that the file calls red, green and blue; the first three of a colour image that calls none so.
    Errors: ImageError for a colour image of fewer than three bands.
    """
    path = view.colour or view.path
    with opened(path) as src:
        named = {c: i for i, c in enumerate(src.colorinterp, 1)}
        width, height, count, nodata = src.width, src.height, src.count, src.nodata
    wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    bands = tuple(named[c] for c in wanted if c in named)
    if view.colour is None or view.colour_camera is None:
        return ColourImage(view, bands) if len(bands) == 3 else None
    if len(bands) < 3:
        if count < 3:
            raise ImageError(path, f"has {count} bands", "give a colour image of red, green and blue, or leave 'colour' out")
        bands = (1, 2, 3)
    # the view's masks are of its own pixels; what they hide is not looked at in any case
    place = {"path": path, "camera": view.colour_camera, "width": width, "height": height}
    return ColourImage(replace(view, **place, nodata=nodata, masks=(), fingerprint=""), bands)


def full_scale(path: str | Path) -> float | None:
    """The largest value of the bit depth of an image of whole numbers, 2047 for 11 bits; None for floats.

    Files that keep fewer bits than their type has seldom say so (NBITS): then the least depth that holds the values at
    some places of the image, the same whatever part of it is in use.
    """
    with opened(path) as src:
        dtype = np.dtype(src.dtypes[0])
        if not np.issubdtype(dtype, np.integer):
            return None
        bits = int(src.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", 8 * dtype.itemsize))
        if dtype.itemsize == 1 or bits < 8 * dtype.itemsize:
            return float(2**bits - 1)
        cols, rows = (np.linspace(0, max(n - _SIDE, 0), _PLACES).astype(int) for n in (src.width, src.height))
        places = [RioWindow(c, r, min(_SIDE, src.width), min(_SIDE, src.height)) for c in cols for r in rows]  # type: ignore[call-arg]
        most = max(int(src.read(window=place).max()) for place in places)
    return float(2 ** max(most.bit_length(), 8) - 1)
