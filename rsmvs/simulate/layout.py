"""Where things stand: streets, blocks, parcels with their buildings, trees, ponds. Lengths in metres unless said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsmvs.simulate.canvas import (
    BUILDING,
    FLAT,
    GABLE,
    GROUND,
    HIP,
    PARAPET,
    SHED,
    Canvas,
    paint_crown,
    paint_ground,
    paint_mark,
    paint_roof,
    paint_water,
)
from rsmvs.simulate.materials import INDEX
from rsmvs.simulate.noise import smooth_noise
from rsmvs.simulate.options import SceneOptions
from rsmvs.types import F32

_PITCHED = ("tiles", "tiles", "slate", "brown tiles", "metal")
_FLAT_TOPS = ("gravel", "bitumen", "white membrane", "concrete", "metal")


@dataclass(frozen=True)
class Street:
    """A straight street along one axis of the town's frame: `offset` across it, full `width` between the facades' kerbs."""

    offset: float
    width: float


@dataclass(frozen=True)
class Frame:
    """The town's rotated frame (u, v) in metres about the scene's centre, and its cells."""

    angle: float
    step: float
    centre: tuple[float, float]  # (col, row)

    def cell(self, u: float, v: float) -> tuple[float, float]:
        c, s = np.cos(self.angle), np.sin(self.angle)
        return self.centre[0] + (u * c - v * s) / self.step, self.centre[1] + (u * s + v * c) / self.step


def street_offsets(rng: np.random.Generator, half: float, spacing: tuple[float, float]) -> list[Street]:
    streets, at = [], -half - rng.uniform(0, spacing[1])
    while at < half:
        streets.append(Street(at, float(rng.choice([7.0, 8.0, 10.0, 14.0], p=[0.35, 0.35, 0.2, 0.1]))))
        at += rng.uniform(*spacing)
    return [*streets, Street(at, 8.0)]


def paint_streets(canvas: Canvas, frame: Frame, along_u: list[Street], along_v: list[Street], half: float) -> None:
    """Pavements, carriageways, then paint; crossings come out right because each layer is laid everywhere first."""
    layers, step, a = canvas.layers, frame.step, frame.angle
    runs = [(s, 0.0) for s in along_u] + [(s, np.pi / 2) for s in along_v]
    for extra, name in ((2.0, "concrete"), (0.0, "asphalt")):
        for s, turn in runs:
            x, y = frame.cell(0.0, s.offset) if turn == 0 else frame.cell(s.offset, 0.0)
            w = (s.width / 2 - 1.0 + extra) / step
            paint_ground(layers, x, y, np.cos(a + turn), np.sin(a + turn), half / step, w, INDEX[name], 1.0, 0.0, 0.0)
    for s, turn in runs:
        p, q = ((-half, s.offset), (half, s.offset)) if turn == 0 else ((s.offset, -half), (s.offset, half))
        if s.width >= 8:
            paint_mark(layers, *frame.cell(*p), *frame.cell(*q), 0.3 / step, 9.0 / step, 2.4)


def place_building(
    rng: np.random.Generator, canvas: Canvas, frame: Frame, u: float, v: float, length: float, width: float, high: float
) -> None:
    """One building of length x width at (u, v) of the frame; `high` in 0 to 1 moves it from cottages to towers."""
    step, layers = frame.step, canvas.layers
    angle = frame.angle + rng.normal(0, 0.02)
    if width > length:
        length, width, angle = width, length, angle + np.pi / 2
    x, y = frame.cell(u, v)
    i, j = int(np.clip(y, 0, canvas.terrain.shape[0] - 1)), int(np.clip(x, 0, canvas.terrain.shape[1] - 1))
    if canvas.classes[i, j] != GROUND:
        return
    eave = float(canvas.terrain[i, j]) + 2.8 * (1 + int(rng.exponential(1.0 + 5.0 * high)))
    box = (x, y, np.cos(angle), np.sin(angle), length / 2 / step, width / 2 / step)
    tone = float(rng.uniform(0.7, 1.3))
    if width < 15 and rng.random() < 0.75 - 0.5 * high:
        kind, rise = (int(rng.choice([GABLE, HIP, SHED], p=[0.6, 0.3, 0.1])), width / 2 * float(rng.uniform(0.35, 0.9)))
        rise = rise * 0.5 if kind == SHED else rise
        material = INDEX[str(rng.choice(_PITCHED))]
        paint_roof(layers, *box, kind, eave, rise, material, tone, float(rng.uniform(0.8, 1.6)) / step, 0.15, BUILDING)
        return
    kind = int(rng.choice([FLAT, PARAPET]))
    material = INDEX[str(rng.choice(_FLAT_TOPS))]
    seams = float(rng.uniform(2, 6)) / step, float(rng.uniform(0, 0.2))
    paint_roof(layers, *box, kind, eave, 0.6, material, tone, *seams, BUILDING)
    for _ in range(rng.poisson(length * width / 70)):  # lift housings, ventilation, skylights
        a, b = rng.uniform(-0.38, 0.38) * length, rng.uniform(-0.38, 0.38) * width
        fx, fy = x + (a * np.cos(angle) - b * np.sin(angle)) / step, y + (a * np.sin(angle) + b * np.cos(angle)) / step
        size = rng.uniform(0.5, 1.6, 2) / step
        top = eave + float(rng.uniform(0.4, 2.8))
        material = INDEX[str(rng.choice(_FLAT_TOPS))]
        paint_roof(layers, fx, fy, box[2], box[3], size[0], size[1], FLAT, top, 0.0, material, 1.0, 0.0, 0.0, BUILDING)


def fill_block(
    rng: np.random.Generator,
    canvas: Canvas,
    frame: Frame,
    u: tuple[float, float],
    v: tuple[float, float],
    options: SceneOptions,
) -> None:
    """Parcels in two rows back to back, or one large building, or open ground."""
    width, depth = u[1] - u[0], v[1] - v[0]
    if width < 10 or depth < 10:
        return
    kind, high = rng.random(), float(rng.beta(1.2, 3.0))
    x, y = frame.cell(sum(u) / 2, sum(v) / 2)
    lot = (x, y, np.cos(frame.angle), np.sin(frame.angle), width / 2 / frame.step, depth / 2 / frame.step)
    if kind > options.buildings + (1 - options.buildings) * 0.3:  # a field or a square
        name = str(rng.choice(["soil", "grass", "concrete"]))
        paint_ground(canvas.layers, *lot, INDEX[name], float(rng.uniform(0.7, 1.2)), rng.uniform(1.5, 5) / frame.step, 0.15)
        return
    if kind < 0.2:  # a hall, an office
        paint_ground(canvas.layers, *lot, INDEX["asphalt"], 1.2, 5.2 / frame.step, 0.1)
        length, deep = width * rng.uniform(0.5, 0.8), depth * rng.uniform(0.5, 0.8)
        place_building(rng, canvas, frame, sum(u) / 2, sum(v) / 2, length, deep, high)
        return
    at, rows = u[0], 2 if depth > 26 else 1
    while at < u[1] - 8:
        parcel = min(rng.uniform(11, 22), u[1] - at)
        for k in range(rows):
            if parcel < 8 or rng.random() > options.buildings:
                continue
            inner = depth / rows
            mid = v[0] + inner * (k + 0.5) + (rng.uniform(-0.08, 0.08) * inner)
            length, deep = parcel * rng.uniform(0.6, 0.85), min(inner * rng.uniform(0.5, 0.75), 16.0)
            place_building(rng, canvas, frame, at + parcel / 2, mid, length, deep, high)
        at += parcel


def plant_trees(rng: np.random.Generator, canvas: Canvas, step: float, count: int, rough: F32) -> None:
    """Single trees and clumps on unpaved ground."""
    paved = {INDEX[n] for n in ("asphalt", "water")}
    h, w = canvas.terrain.shape
    clumps = rng.uniform(0, [w, h], (max(count // 12, 1), 2))
    for n in range(count):
        x, y = rng.uniform(0, [w, h]) if n % 3 else clumps[n % len(clumps)] + rng.normal(0, 8 / step, 2)
        i, j = int(y), int(x)
        if not (0 <= i < h and 0 <= j < w) or canvas.classes[i, j] != GROUND or int(canvas.material[i, j]) in paved:
            continue
        height = float(rng.gamma(6, 1.6)) + 2.5
        conifer = rng.random() < 0.3
        radius = height * (rng.uniform(0.14, 0.22) if conifer else rng.uniform(0.25, 0.4))
        paint_crown(
            canvas.layers, canvas.terrain, rough, float(x), float(y), radius / step, 0.15 * height, height,
            0.35, 0.8 if conifer else 0.0, INDEX["conifer" if conifer else "broadleaf"],
        )  # fmt: skip


def dig_pond(rng: np.random.Generator, canvas: Canvas, step: float) -> None:
    h, w = canvas.terrain.shape
    radius = float(rng.uniform(0.06, 0.12)) * w
    x, y = rng.uniform(0.25, 0.75, 2) * (w, h)
    r = int(radius * 1.3)
    near = canvas.terrain[max(int(y) - r, 0) : int(y) + r, max(int(x) - r, 0) : int(x) + r]
    outline = smooth_noise(rng, (h, w), radius)
    paint_water(canvas.layers, canvas.terrain, outline, x, y, radius, float(near.min()) - 0.4, INDEX["water"])
