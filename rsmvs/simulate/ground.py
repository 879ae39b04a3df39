"""Kernels that paint the ground, roads and plants; units as in `rsmvs.simulate.canvas`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from rsmvs.simulate.canvas import BUILDING, ELEVATED, FOLIAGE, GROUND
from rsmvs.types import F32, F64


@njit(cache=True, nogil=True, error_model="numpy")
def paint_ground(
    layers: Any, x: float, y: float, angle: float, half_l: float, half_w: float, material: int,
    tone: float, period: float, contrast: float,
) -> None:
    """A rectangle of another material on the ground; stripes along its length as in `paint_roof`."""
    surface, classes, mats, detail = layers
    cos, sin = np.cos(angle), np.sin(angle)
    reach_x, reach_y = abs(half_l * cos) + abs(half_w * sin), abs(half_l * sin) + abs(half_w * cos)
    for i in range(max(int(y - reach_y), 0), min(int(y + reach_y) + 2, surface.shape[0])):
        for j in range(max(int(x - reach_x), 0), min(int(x + reach_x) + 2, surface.shape[1])):
            a, b = (j - x) * cos + (i - y) * sin, (i - y) * cos - (j - x) * sin
            if abs(a) <= half_l and abs(b) <= half_w and classes[i, j] == GROUND:
                mats[i, j] = material
                detail[i, j] = tone * (1.0 - contrast) if period > 0 and (b / period) % 1.0 < 0.5 else tone


@njit(cache=True, nogil=True, error_model="numpy")
def paint_patch(layers: Any, x: float, y: float, angle: float, half_l: float, half_w: float, factor: float, on: int) -> None:
    """A rectangle of paint, a car, a panel: a factor on the albedo of class `on`, on any material."""
    surface, classes, _, detail = layers
    cos, sin = np.cos(angle), np.sin(angle)
    reach = int(half_l + half_w) + 1
    for i in range(max(int(y) - reach, 0), min(int(y) + reach + 1, surface.shape[0])):
        for j in range(max(int(x) - reach, 0), min(int(x) + reach + 1, surface.shape[1])):
            a, b = (j - x) * cos + (i - y) * sin, (i - y) * cos - (j - x) * sin
            if abs(a) <= half_l and abs(b) <= half_w and classes[i, j] == on:
                detail[i, j] = factor


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _to_segment(j: float, i: float, p: F64, q: F64) -> tuple[float, float]:
    """Distance to the segment from p to q, and the place along it (0 to 1)."""
    dx, dy = q[0] - p[0], q[1] - p[1]
    t = ((j - p[0]) * dx + (i - p[1]) * dy) / max(dx * dx + dy * dy, 1e-9)
    t = min(max(t, 0.0), 1.0)
    return np.hypot(j - p[0] - t * dx, i - p[1] - t * dy), t


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _to_line(j: float, i: float, p: F64, q: F64) -> tuple[float, float]:
    """Distance to the line through p and q, and the place along it (0 at p, 1 at q)."""
    dx, dy = q[0] - p[0], q[1] - p[1]
    square = max(dx * dx + dy * dy, 1e-9)
    return abs((i - p[1]) * dx - (j - p[0]) * dy) / np.sqrt(square), ((j - p[0]) * dx + (i - p[1]) * dy) / square


@njit(cache=True, nogil=True, error_model="numpy")
def paint_path(layers: Any, path: F64, half_w: float, material: int, tone: float) -> None:
    """A way along a polyline (n, 2) on the ground."""
    surface, classes, mats, detail = layers
    for n in range(len(path) - 1):
        p, q = path[n], path[n + 1]
        for i in range(max(int(min(p[1], q[1]) - half_w), 0), min(int(max(p[1], q[1]) + half_w) + 2, surface.shape[0])):
            for j in range(max(int(min(p[0], q[0]) - half_w), 0), min(int(max(p[0], q[0]) + half_w) + 2, surface.shape[1])):
                if classes[i, j] == GROUND and _to_segment(j, i, p, q)[0] <= half_w:
                    mats[i, j], detail[i, j] = material, tone


@njit(cache=True, nogil=True, error_model="numpy")
def paint_marks(
    layers: Any, path: F64, offset: float, half_w: float, dash: float, factor: float, material: int, on: int
) -> None:
    """A line of paint at `offset` to the side of a polyline, on one material of class `on`; dashed where dash > 0."""
    surface, classes, mats, detail = layers
    run = 0.0
    for n in range(len(path) - 1):
        dx, dy = path[n + 1, 0] - path[n, 0], path[n + 1, 1] - path[n, 1]
        length = max(np.hypot(dx, dy), 1e-9)
        cos, sin = dx / length, dy / length
        for k in range(int(length * 2)):
            a = k * 0.5
            if dash > 0 and ((run + a) / dash) % 1.0 > 0.5:
                continue
            for m in range(max(int(half_w * 4), 1)):
                b = offset + m * 0.5 - half_w
                j, i = round(path[n, 0] + a * cos - b * sin), round(path[n, 1] + a * sin + b * cos)
                if 0 <= i < surface.shape[0] and 0 <= j < surface.shape[1] and classes[i, j] == on and mats[i, j] == material:
                    detail[i, j] = factor
        run += length


@njit(cache=True, nogil=True, error_model="numpy")
def paint_deck(layers: Any, path: F64, level: F64, half_w: float, material: int) -> None:
    """An elevated road along a polyline (n, 2) whose nodes lie at `level` (m), with parapets. Solid down to the ground:
    a height field has no room under a bridge."""
    surface, classes, mats, detail = layers
    for n in range(len(path) - 1):
        p, q = path[n], path[n + 1]
        for i in range(max(int(min(p[1], q[1]) - half_w), 0), min(int(max(p[1], q[1]) + half_w) + 2, surface.shape[0])):
            for j in range(max(int(min(p[0], q[0]) - half_w), 0), min(int(max(p[0], q[0]) + half_w) + 2, surface.shape[1])):
                d, t = _to_line(j, i, p, q)
                if d > half_w or not -0.02 < t < 1.02:
                    continue
                z = (1 - t) * level[n] + t * level[n + 1] + (0.9 if d > half_w - 1.5 else 0.0)
                if z > surface[i, j] + 0.3 and classes[i, j] != BUILDING:
                    surface[i, j], classes[i, j], mats[i, j] = z, ELEVATED, material
                    detail[i, j] = 1.6 if d > half_w - 1.5 else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def paint_crowns(layers: Any, terrain: F32, rough: F32, trees: F64, forbidden: int) -> None:
    """Trees (n, 8): x, y, radius in cells, trunk, height, cone, material, tone; none on the material `forbidden`.

    A crown is an ellipsoid (cone = 0) to a cone (1) from `trunk` to `height` metres above the ground, with rough leaves.
    """
    surface, classes, mats, detail = layers
    for n in range(len(trees)):
        x, y, radius, trunk, height, cone, material, tone = trees[n]
        i0, j0 = int(y), int(x)
        if not (0 <= i0 < surface.shape[0] and 0 <= j0 < surface.shape[1]):
            continue
        if classes[i0, j0] not in (GROUND, FOLIAGE) or mats[i0, j0] == forbidden:
            continue
        r = int(radius * 1.4) + 1
        for i in range(max(i0 - r, 0), min(i0 + r + 1, surface.shape[0])):
            for j in range(max(j0 - r, 0), min(j0 + r + 1, surface.shape[1])):
                d = np.hypot(j - x, i - y) / (radius * (1.0 + 0.15 * rough[i, j]))
                if d >= 1.0:
                    continue
                profile = (1 - cone) * np.sqrt(1 - d * d) + cone * (1 - d)
                z = terrain[i, j] + trunk + (height - trunk) * profile * (1.0 + 0.06 * rough[i, j])
                if z > surface[i, j] and z > terrain[i, j] + 0.4:
                    surface[i, j], classes[i, j], mats[i, j] = z, FOLIAGE, int(material)
                    detail[i, j] = tone * (1.0 + 0.2 * rough[i, j])
