"""The height field that objects are painted into, and the kernels that paint them.

All positions and lengths here are in cells of the height field: (x, y) = (column, row) of a node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsmvs.types import F32

GROUND, FOLIAGE, BUILDING, WATER, ELEVATED, OTHER = range(6)  # index into rsmvs.types.CLASS_NAMES
FLAT, GABLE, HIP, SHED, PARAPET = range(5)


@dataclass(frozen=True, eq=False)
class Canvas:
    """Layers (h, w): heights of surface and bare earth (m), class, material, painted detail (factor on the albedo)."""

    surface: F32
    terrain: F32
    classes: NDArray[np.int8]
    material: NDArray[np.uint8]
    detail: F32

    @property
    def layers(self) -> tuple[Any, ...]:
        return self.surface, self.classes, self.material, self.detail


def blank(terrain: F32, material: int) -> Canvas:
    shape = terrain.shape
    return Canvas(
        terrain.copy(), terrain, np.zeros(shape, np.int8), np.full(shape, material, np.uint8), np.ones(shape, np.float32)
    )


@njit(cache=True, nogil=True)
def paint_roof(
    layers: Any, x: float, y: float, cos: float, sin: float, half_l: float, half_w: float,
    kind: int, eave: float, rise: float, material: int, tone: float, period: float, contrast: float, cls: int,
) -> None:
    """A rectangle with a roof: centre, direction of the ridge (cos, sin), half sides in cells, heights in metres.

    tone: factor on the albedo; period, contrast: rows of tiles or sheet seams across the slope, in cells and as a share.
    """
    surface, classes, mats, detail = layers
    reach_x, reach_y = abs(half_l * cos) + abs(half_w * sin), abs(half_l * sin) + abs(half_w * cos)
    for i in range(max(int(y - reach_y), 0), min(int(y + reach_y) + 2, surface.shape[0])):
        for j in range(max(int(x - reach_x), 0), min(int(x + reach_x) + 2, surface.shape[1])):
            a, b = (j - x) * cos + (i - y) * sin, (i - y) * cos - (j - x) * sin
            if abs(a) > half_l or abs(b) > half_w:
                continue
            edge = min(half_l - abs(a), half_w - abs(b))
            z = eave
            if kind == GABLE:
                z += rise * (1 - abs(b) / half_w)
            elif kind == HIP:
                z += rise * min(1.0, edge / half_w)
            elif kind == SHED:
                z += rise * (b + half_w) / (2 * half_w)
            elif kind == PARAPET and edge < 2.0:
                z += rise
            if z > surface[i, j]:
                surface[i, j], classes[i, j], mats[i, j] = z, cls, material
                stripe = (b / period) % 1.0 < 0.5 if period > 0 else False
                detail[i, j] = tone * (1.0 - contrast) if stripe else tone


@njit(cache=True, nogil=True)
def paint_ground(
    layers: Any, x: float, y: float, cos: float, sin: float, half_l: float, half_w: float, material: int,
    tone: float, period: float, contrast: float,
) -> None:
    """A rectangle of another material on the ground; stripes along its length as in `paint_roof`."""
    surface, classes, mats, detail = layers
    reach_x, reach_y = abs(half_l * cos) + abs(half_w * sin), abs(half_l * sin) + abs(half_w * cos)
    for i in range(max(int(y - reach_y), 0), min(int(y + reach_y) + 2, surface.shape[0])):
        for j in range(max(int(x - reach_x), 0), min(int(x + reach_x) + 2, surface.shape[1])):
            a, b = (j - x) * cos + (i - y) * sin, (i - y) * cos - (j - x) * sin
            if abs(a) <= half_l and abs(b) <= half_w and classes[i, j] == GROUND:
                mats[i, j] = material
                detail[i, j] = tone * (1.0 - contrast) if period > 0 and (b / period) % 1.0 < 0.5 else tone


@njit(cache=True, nogil=True)
def paint_mark(layers: Any, x0: float, y0: float, x1: float, y1: float, half_w: float, dash: float, factor: float) -> None:
    """A line of paint on the ground: a factor on the albedo; dashed with a period of `dash` cells where that is > 0."""
    surface, classes, _, detail = layers
    length = np.hypot(x1 - x0, y1 - y0)
    cos, sin = (x1 - x0) / length, (y1 - y0) / length
    for n in range(int(length * 2) + 1):
        a = n * 0.5
        if dash > 0 and (a / dash) % 1.0 > 0.5:
            continue
        for m in range(int(half_w * 2) + 1):
            b = m * 0.5 - half_w / 2
            j, i = round(x0 + a * cos - b * sin), round(y0 + a * sin + b * cos)
            if 0 <= i < surface.shape[0] and 0 <= j < surface.shape[1] and classes[i, j] == GROUND:
                detail[i, j] = factor


@njit(cache=True, nogil=True)
def paint_crown(
    layers: Any, terrain: F32, rough: F32, x: float, y: float, radius: float, trunk: float, height: float,
    roughness: float, cone: float, material: int,
) -> None:
    """A tree: an ellipsoid (cone = 0) to cone (1) from `trunk` to `height` metres above the ground, with rough leaves."""
    surface, classes, mats, detail = layers
    r = int(radius * 1.3) + 1
    for i in range(max(int(y) - r, 0), min(int(y) + r + 1, surface.shape[0])):
        for j in range(max(int(x) - r, 0), min(int(x) + r + 1, surface.shape[1])):
            d = np.hypot(j - x, i - y) / (radius * (1.0 + 0.12 * rough[i, j]))
            if d >= 1.0:
                continue
            profile = (1 - cone) * np.sqrt(1 - d * d) + cone * (1 - d)
            z = terrain[i, j] + trunk + (height - trunk) * profile + roughness * rough[i, j] * profile
            if z > surface[i, j] and z > terrain[i, j] + 0.5:
                surface[i, j], classes[i, j], mats[i, j] = z, FOLIAGE, material
                detail[i, j] = 1.0 + 0.22 * rough[i, j]


@njit(cache=True, nogil=True)
def paint_water(
    layers: Any, terrain: F32, outline: F32, x: float, y: float, radius: float, level: float, material: int
) -> None:
    """A pond: a circle with an uneven outline, dug into the terrain at `level` metres."""
    surface, classes, mats, detail = layers
    r = int(radius * 1.6) + 1
    for i in range(max(int(y) - r, 0), min(int(y) + r + 1, surface.shape[0])):
        for j in range(max(int(x) - r, 0), min(int(x) + r + 1, surface.shape[1])):
            if np.hypot(j - x, i - y) < radius * (1 + 0.25 * outline[i, j]) and classes[i, j] != BUILDING:
                surface[i, j] = terrain[i, j] = level
                classes[i, j], mats[i, j], detail[i, j] = WATER, material, 1.0
