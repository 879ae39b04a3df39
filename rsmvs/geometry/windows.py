"""Windows of images: which part sees an area, which part a warp reaches, and how to cut a large one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from rsmvs.geometry.warp import WarpField
from rsmvs.types import F64, Camera, Window

_ALIGNED = 16  # px: cuts lie where the pixels of coarser pyramid levels begin


def _around(col: F64, row: F64, margin: int) -> Window:
    c0, r0 = math.floor(col.min()) - margin, math.floor(row.min()) - margin
    return Window(c0, r0, math.ceil(col.max()) + margin + 1 - c0, math.ceil(row.max()) + margin + 1 - r0)


def window_of_area(camera: Camera, lon: Any, lat: Any, height_range: tuple[float, float]) -> Window:
    """Pixels that see the ground points (degrees) at any height of the range; may reach beyond the image."""
    heights = np.linspace(*height_range, 3)[:, None]
    col, row = camera.project(np.asarray(lon, np.float64)[None], np.asarray(lat, np.float64)[None], heights)
    return _around(col, row, 0)


def window_of_warp(field: WarpField, window: Window, height_range: tuple[float, float], margin: int) -> Window:
    """Target pixels that the field reaches from a window at any height of the range, with a margin."""
    c = np.linspace(window.col, window.col + window.width - 1, 5)
    r = np.linspace(window.row, window.row + window.height - 1, 5)
    row, col, h = np.meshgrid(r, c, np.linspace(*height_range, 3), indexing="ij")
    return _around(*field(col, row, h), margin)


def parts(window: Window, limit: int, overlap: int) -> Iterator[tuple[Window, Window]]:
    """(part, core) windows: cores tile `window`, parts reach `overlap` px further and are at most `limit` px wide."""
    cols, rows = _cuts(window.width, limit, overlap), _cuts(window.height, limit, overlap)
    for r0, r1 in rows:
        for c0, c1 in cols:
            core = Window(window.col + c0, window.row + r0, c1 - c0, r1 - r0)
            left, top = min(overlap, c0), min(overlap, r0)
            right, low = min(overlap, window.width - c1), min(overlap, window.height - r1)
            yield Window(core.col - left, core.row - top, core.width + left + right, core.height + top + low), core


def _cuts(length: int, limit: int, overlap: int) -> list[tuple[int, int]]:
    number = 1 if length <= limit else math.ceil(length / max(limit - 2 * overlap - _ALIGNED, 1))
    edges = [length * i // number // _ALIGNED * _ALIGNED for i in range(number)] + [length]
    return list(itertools.pairwise(edges))
