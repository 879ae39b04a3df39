"""Bare earth and water."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rsmvs.simulate.canvas import WATER, Canvas
from rsmvs.simulate.materials import INDEX
from rsmvs.simulate.noise import fractal_noise, smooth_noise
from rsmvs.simulate.styles import Place
from rsmvs.types import F32


def terrain(rng: np.random.Generator, shape: tuple[int, int], step: float, relief: float) -> F32:
    """Heights (m) that differ by about `relief`; slopes of a plane, hills, and ridges where the relief is large."""
    size = max(shape) * step
    base = float(rng.uniform(5, 1200))
    hills: Any = fractal_noise(rng, shape, max(size / rng.uniform(1.0, 2.5), 80.0) / step, 5, 0.4)
    if relief > 60:  # ridged noise: crests instead of domes
        hills = 0.5 * hills + 1.2 - 1.6 * np.abs(fractal_noise(rng, shape, size / 1.6 / step, 4, 0.45))
    rows, cols = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    slope = rng.normal(0, 1, 2)
    return np.asarray(base + relief / 5 * (hills + slope[0] * cols + slope[1] * rows[:, None]), np.float32)


def flood(rng: np.random.Generator, canvas: Canvas, place: Place) -> None:
    """Water of the place's kind: a level surface, the land about it drawn down to its banks."""
    if place.water == "none":
        return
    h, w = canvas.terrain.shape
    y, x = np.mgrid[0:h:4, 0:w:4].astype(np.float32) / max(h, w)
    shape = x.shape
    rough = smooth_noise(rng, shape, max(shape) / 3) * 0.06 + smooth_noise(rng, shape, max(shape) / 12) * 0.012
    angle = rng.uniform(0, 2 * np.pi)
    u, v = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), (y - 0.5) * np.cos(angle) - (x - 0.5) * np.sin(angle)
    if place.water == "coast":
        depth = u - rng.uniform(0.0, 0.25) + rough
    elif place.water == "river":
        wide = rng.uniform(0.02, 0.07)
        course = rng.uniform(-0.2, 0.2) + rng.uniform(0, 0.12) * np.sin(v * rng.uniform(3, 9) + rng.uniform(0, 6))
        depth = wide - np.abs(u - course + 0.6 * rough)
    else:
        cx, cy = rng.uniform(-0.25, 0.25, 2)
        depth = rng.uniform(0.05, 0.13) - np.hypot(u - cx, (v - cy) * rng.uniform(0.7, 1.5)) + rough
    wet = cv2.resize(np.asarray(depth, np.float32), (w, h), interpolation=cv2.INTER_LINEAR) > 0
    if wet.any() and not wet.all():
        _fill(canvas, wet, bank=rng.uniform(10, 60) / canvas.step)


def _fill(canvas: Canvas, wet: NDArray[np.bool_], bank: float) -> None:
    """Level the wet cells; within `bank` cells the land comes down to the water."""
    level = float(np.percentile(canvas.terrain[wet], 20)) - 0.8
    away = cv2.distanceTransform((~wet).astype(np.uint8), cv2.DIST_L2, 3)
    share = np.clip(away / bank, 0, 1)
    share = share * share * (3 - 2 * share)
    land = level + 0.5 + np.maximum(canvas.terrain - level - 0.5, 0) * share
    canvas.terrain[:] = np.where(wet, level, land)
    canvas.surface[:] = canvas.terrain
    canvas.classes[wet], canvas.material[wet] = WATER, INDEX["water"]
