"""The height field that objects are painted into: its layers, and what makes a roof.

All positions and lengths of kernels are in cells of the height field: (x, y) = (column, row) of a node; heights in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsmvs.types import F32

GROUND, FOLIAGE, BUILDING, WATER, ELEVATED, OTHER = range(6)  # index into rsmvs.types.CLASS_NAMES
FLAT, PARAPET, GABLE, HIP, SHED, MANSARD, BARREL, SAW = range(8)


@dataclass(frozen=True, eq=False)
class Canvas:
    """Layers (h, w): heights of surface and bare earth (m), class, material, painted detail (factor on the albedo)."""

    surface: F32
    terrain: F32
    classes: NDArray[np.int8]
    material: NDArray[np.uint8]
    detail: F32
    step: float  # metres a cell

    @property
    def layers(self) -> tuple[Any, ...]:
        return self.surface, self.classes, self.material, self.detail

    def class_at(self, x: float, y: float) -> int:
        """Class at the nearest node; clamped to the field, so that what stands across its rim is built too."""
        h, w = self.classes.shape
        return int(self.classes[min(max(int(y), 0), h - 1), min(max(int(x), 0), w - 1)])

    def height(self, x: float, y: float) -> float:
        """Bare earth at the nearest node (m), clamped to the field."""
        h, w = self.terrain.shape
        return float(self.terrain[min(max(int(y), 0), h - 1), min(max(int(x), 0), w - 1)])


def blank(terrain: F32, material: int, step: float) -> Canvas:
    shape = terrain.shape
    return Canvas(
        terrain.copy(), terrain, np.zeros(shape, np.int8), np.full(shape, material, np.uint8), np.ones(shape, np.float32), step
    )


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _roof(kind: int, rise: float, a: float, b: float, half_l: float, half_w: float, period: float) -> float:
    """Height (m) over the eave at (a, b) of a rectangle, a along the ridge."""
    edge = min(half_l - abs(a), half_w - abs(b))
    if kind == GABLE:
        return rise * (1 - abs(b) / half_w)
    if kind == HIP:
        return rise * min(1.0, edge / half_w)
    if kind == SHED:
        return rise * (b + half_w) / (2 * half_w)
    if kind == MANSARD:
        return rise * min(0.75 * edge / (0.3 * half_w), 0.75 + 0.25 * edge / half_w)
    if kind == BARREL:
        return rise * np.sqrt(max(1 - (b / half_w) ** 2, 0.0))
    if kind == SAW:
        return rise * ((a + half_l) / max(4 * period, 1.0) % 1.0)
    return rise if kind == PARAPET and edge < 2.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def paint_roof(
    layers: Any, x: float, y: float, angle: float, half_l: float, half_w: float, kind: int, eave: float, rise: float,
    material: int, tone: float, period: float, contrast: float,
) -> None:
    """A building of rectangular plan: centre, direction of the ridge (rad), half sides, height of the eave and of the
    roof above it (m).

    tone: factor on the albedo; period, contrast: rows of tiles or sheet seams across the slope, in cells and as a share.
    """
    surface, classes, mats, detail = layers
    cos, sin = np.cos(angle), np.sin(angle)
    reach_x, reach_y = abs(half_l * cos) + abs(half_w * sin), abs(half_l * sin) + abs(half_w * cos)
    for i in range(max(int(y - reach_y), 0), min(int(y + reach_y) + 2, surface.shape[0])):
        for j in range(max(int(x - reach_x), 0), min(int(x + reach_x) + 2, surface.shape[1])):
            a, b = (j - x) * cos + (i - y) * sin, (i - y) * cos - (j - x) * sin
            if abs(a) > half_l or abs(b) > half_w:
                continue
            z = eave + _roof(kind, rise, a, b, half_l, half_w, period)
            if z > surface[i, j]:
                surface[i, j], classes[i, j], mats[i, j] = z, BUILDING, material
                stripe = period > 0 and (b / period) % 1.0 < 0.5
                detail[i, j] = tone * (1.0 - contrast) if stripe else tone


@njit(cache=True, nogil=True, error_model="numpy")
def paint_disc(
    layers: Any, x: float, y: float, radius: float, eave: float, rise: float, material: int, tone: float
) -> None:
    """A round building: a tank, a silo, a dome of `rise` metres."""
    surface, classes, mats, detail = layers
    for i in range(max(int(y - radius), 0), min(int(y + radius) + 2, surface.shape[0])):
        for j in range(max(int(x - radius), 0), min(int(x + radius) + 2, surface.shape[1])):
            d = np.hypot(j - x, i - y) / radius
            if d <= 1.0:
                z = eave + rise * np.sqrt(1 - d * d)
                if z > surface[i, j]:
                    surface[i, j], classes[i, j], mats[i, j], detail[i, j] = z, BUILDING, material, tone
