"""Where things stand: streets, the blocks between them and what fills them. Lengths in metres of the town's frame."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rsmvs.simulate.buildings import Builder, Plan
from rsmvs.simulate.canvas import ELEVATED, GROUND, Canvas
from rsmvs.simulate.frame import Frame
from rsmvs.simulate.ground import paint_deck, paint_marks, paint_path
from rsmvs.simulate.materials import INDEX
from rsmvs.types import F64

_DIRT = 5.0  # m: streets up to this width are not paved in the open country


@dataclass(frozen=True)
class Street:
    offset: float
    width: float


def street_offsets(rng: random.Random, half: float, spacing: tuple[float, float], widths: tuple[float, ...]) -> list[Street]:
    """Parallel streets from -half to half and one beyond."""
    streets, at = [], -half - rng.uniform(0, spacing[1])
    while at < half + spacing[1]:
        streets.append(Street(at, rng.choice(widths)))
        at += rng.uniform(*spacing)
    return streets


def paint_streets(canvas: Canvas, frame: Frame, along_u: list[Street], along_v: list[Street], half: float) -> list[F64]:
    """Pavements, carriageways, then paint, each layer everywhere first, so that crossings come out right.

    Returns the middle lines in cells.
    """
    layers, step = canvas.layers, canvas.step
    runs = [(s, frame.path((-half, half), (s.offset, s.offset))) for s in along_u]
    runs += [(s, frame.path((s.offset, s.offset), (-half, half))) for s in along_v]
    for s, path in runs:
        if s.width > 6:
            paint_path(layers, path, (s.width / 2 + 1.6) / step, INDEX["concrete"], 0.9)
    for s, path in runs:
        paint_path(layers, path, s.width / 2 / step, INDEX["asphalt" if s.width > _DIRT else "gravel"], 1.0)
    for s, path in runs:
        if s.width < 7:
            continue
        paint_marks(layers, path, 0.0, 0.15 / step, 9.0 / step, 2.3, INDEX["asphalt"], GROUND)
        if s.width >= 12:
            for side in (-1, 1):
                paint_marks(layers, path, side * s.width / 4 / step, 0.12 / step, 9.0 / step, 2.3, INDEX["asphalt"], GROUND)
    return [path for s, path in runs if s.width > _DIRT]


def fill_blocks(builder: Builder, along_u: list[Street], along_v: list[Street], half: float) -> list[Plan]:
    """Everything between the streets; returns the plans of parks, to be planted."""
    parks: list[Plan] = []
    for a, b in pairwise(along_v):
        for c, d in pairwise(along_u):
            u = a.offset + a.width / 2 + 2.5, b.offset - b.width / 2 - 2.5
            v = c.offset + c.width / 2 + 2.5, d.offset - d.width / 2 - 2.5
            block = Plan(sum(u) / 2, sum(v) / 2, u[1] - u[0], v[1] - v[0])
            x, y = builder.frame.cell(block.u, block.v)
            h, w = builder.canvas.terrain.shape
            reach = math.hypot(block.length, block.width) / 2 / builder.canvas.step
            if -reach < x < w + reach and -reach < y < h + reach and min(block.length, block.width) > 9:
                fill_block(builder, block, parks)
    return parks


def fill_block(builder: Builder, block: Plan, parks: list[Plan]) -> None:
    rng, place = builder.rng, builder.place
    kind = rng.choices(list(place.blocks), list(place.blocks.values()))[0]
    if kind in ("houses", "terrace", "dense"):
        _rows(builder, block, kind)
    elif kind == "courtyard":
        _split(builder, block, rng.uniform(32, 50), lambda p: builder.courtyard(p, place.storeys))
    elif kind == "slabs":
        _slabs(builder, block)
    elif kind == "towers":
        builder.lot(block, rng.choice(("concrete", "grass")), rng.uniform(0.8, 1.1))
        _split(builder, block, rng.uniform(34, 60), lambda p: builder.tower(_inside(p, rng.uniform(0.45, 0.75)), place.storeys))
    elif kind == "hall":
        builder.lot(block, rng.choice(("asphalt", "concrete", "asphalt")), rng.uniform(0.9, 1.3))
        _park_cars(builder, block, 0.15)
        _split(builder, block, rng.uniform(60, 110), lambda p: builder.hall(_inside(p, rng.uniform(0.6, 0.85))))
    elif kind == "tanks":
        builder.lot(block, "gravel", 1.0)
        _split(builder, block, rng.uniform(22, 40), lambda p: builder.tank(_inside(p, 0.7)))
    elif kind == "lot":
        builder.lot(block, "asphalt", rng.uniform(0.9, 1.4), 5.2, 0.08)
        _park_cars(builder, block, rng.uniform(0.2, 0.9))
    elif kind == "church":
        builder.lot(block, rng.choice(("concrete", "grass", "gravel")), 1.0)
        builder.church(block)
        parks.append(block)
    elif kind in ("square", "yard"):
        builder.lot(block, rng.choice(("concrete", "gravel", "sand")), rng.uniform(0.8, 1.2), 4.0, 0.06)
        for _ in range(rng.randrange(0, 12) if kind == "yard" else 2):  # containers, stalls, heaps
            spot = Plan(block.u + rng.uniform(-0.45, 0.45) * block.length, block.v + rng.uniform(-0.45, 0.45) * block.width,
                        rng.choice((6.0, 12.0)), 2.5)  # fmt: skip
            floor = builder.floor(spot)
            if floor is not None:
                builder.roof(spot, 0, floor + rng.choice((2.6, 5.2)), 0.0, rng.choice(("rust", "blue metal", "metal")))
    elif kind == "field":
        _fields(builder, block)
    else:  # park, orchard, wild: plants do it
        if kind == "park":
            builder.lot(block, "grass", rng.uniform(0.9, 1.1))
        if kind != "wild":
            parks.append(block)


def _inside(plan: Plan, share: float) -> Plan:
    return Plan(plan.u, plan.v, plan.length * share, plan.width * share)


def _split(builder: Builder, block: Plan, side: float, build: Callable[[Plan], None]) -> None:
    """`build` on each part of the block, parts about `side` wide."""
    nu, nv = max(round(block.length / side), 1), max(round(block.width / side), 1)
    a, b = block.length / nu, block.width / nv
    for i in range(nu):
        for j in range(nv):
            part = Plan(block.u + (i + 0.5 - nu / 2) * a, block.v + (j + 0.5 - nv / 2) * b, a - 2.0, b - 2.0)
            build(part)


def _rows(builder: Builder, block: Plan, kind: str) -> None:
    """Parcels along both long sides, back to back: detached, in a closed row, or covering the parcel."""
    rng, place = builder.rng, builder.place
    if rng.random() < 0.3:
        builder.lot(block, rng.choice(("meadow", "soil", "grass", "gravel")), rng.uniform(0.8, 1.2))
    parcel = {"houses": (13, 24), "terrace": (6.5, 10), "dense": (8, 17)}[kind]
    rows = max(round(block.width / {"houses": 26, "terrace": 24, "dense": 15}[kind]), 1)
    deep = block.width / rows
    storeys = place.storeys * rng.uniform(0.8, 1.25)
    for k in range(rows):
        at, setback = -block.length / 2, rng.uniform(0.1, 0.3)
        v = block.v - block.width / 2 + (k + 0.5) * deep
        while at < block.length / 2 - parcel[0] / 2:
            wide = min(rng.uniform(*parcel), block.length / 2 - at)
            u = block.u + at + wide / 2
            at += wide
            if rng.random() < 0.1 or wide < 5:
                continue
            if kind == "houses":
                toward = (-1 if k == 0 else 1) * setback * deep * 0.3
                plan = Plan(u, v + toward, wide * rng.uniform(0.5, 0.8), min(deep * rng.uniform(0.35, 0.6), 15))
                builder.house(plan, storeys)
                if rng.random() < 0.35:  # a garage, a shed
                    shed = Plan(u + wide * 0.3, v - 2.2 * toward, rng.uniform(3, 6), rng.uniform(3, 6))
                    builder.house(shed, 0.3)
                if rng.random() < 0.3:
                    builder.car(u + wide * 0.4, v + (-1 if k == 0 else 1) * deep * 0.4, math.pi / 2)
            elif kind == "terrace":
                builder.house(Plan(u, v + (-1 if k % 2 == 0 else 1) * deep * 0.12, wide, min(deep * 0.55, 12)), storeys)
            else:
                builder.house(Plan(u, v, wide - rng.choice((0.0, 0.0, 1.5)), deep - rng.uniform(0, 4)), storeys)


def _slabs(builder: Builder, block: Plan) -> None:
    """Long blocks of flats in the green."""
    rng = builder.rng
    builder.lot(block, "grass", rng.uniform(0.85, 1.1))
    gap = rng.uniform(26, 42)
    turned = rng.random() < 0.5
    across = block.length if turned else block.width
    along = block.width if turned else block.length
    for k in range(max(int(across / gap), 1)):
        at = (k + 0.5) * across / max(int(across / gap), 1) - across / 2
        long, deep = along * rng.uniform(0.5, 0.85), rng.uniform(10, 15)
        shift = rng.uniform(-0.08, 0.08) * along
        plan = Plan(block.u + at, block.v + shift, deep, long) if turned else Plan(block.u + shift, block.v + at, long, deep)
        builder.slab(plan, builder.place.storeys)


def _fields(builder: Builder, block: Plan) -> None:
    """Strips of crops, each ploughed its own way."""
    rng = builder.rng
    count = rng.randrange(1, 5)
    for k in range(count):
        wide = block.length / count
        part = Plan(block.u + (k + 0.5 - count / 2) * wide, block.v, wide - 1.0, block.width)
        material = rng.choice(("crop", "crop", "stubble", "soil", "meadow", "meadow"))
        builder.lot(part, material, rng.uniform(0.75, 1.25), rng.uniform(1.2, 9.0), rng.choice((0.0, 0.05, 0.1, 0.2)))


def _park_cars(builder: Builder, block: Plan, share: float) -> None:
    rng = builder.rng
    for i in range(int(block.width / 8)):
        for j in range(int(block.length / 2.7)):
            if rng.random() < share * 0.6:
                u, v = block.u - block.length / 2 + 2 + j * 2.7, block.v - block.width / 2 + 4 + i * 8.0
                builder.car(u, v, math.pi / 2)


def raise_deck(rng: random.Random, canvas: Canvas, half: float) -> None:
    """An elevated road across the scene, straight or in a wide bend, on ramps where the ground rises to it."""
    step = canvas.step
    h, w = canvas.terrain.shape
    angle, offset = rng.uniform(0, math.pi), rng.uniform(-0.3, 0.3) * half
    s = np.linspace(-1.6 * half, 1.6 * half, max(int(3.2 * half / 10), 8))
    side = offset + rng.choice((0.0, 1.0, -1.0)) * (s / half) ** 2 * half * rng.uniform(0.05, 0.3)
    x = w / 2 + (s * math.cos(angle) - side * math.sin(angle)) / step
    y = h / 2 + (s * math.sin(angle) + side * math.cos(angle)) / step
    ground = np.array([canvas.height(a, b) for a, b in zip(x, y, strict=True)])
    smooth = np.convolve(np.pad(ground, 6, mode="edge"), np.ones(13) / 13, mode="valid")
    level = smooth + rng.uniform(5.5, 10)
    path, wide = np.ascontiguousarray(np.stack([x, y], axis=-1)), rng.uniform(4.5, 9.5)
    material = rng.choice(("asphalt", "asphalt", "concrete"))
    paint_deck(canvas.layers, path, level, wide / step, INDEX[material])
    paint_marks(canvas.layers, path, 0.0, 0.2 / step, 0.0, 2.2, INDEX[material], ELEVATED)
