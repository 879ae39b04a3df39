"""Buildings, from cottages to towers. Lengths in metres; places in the town's frame."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from rsmvs.simulate.canvas import (
    BARREL,
    BUILDING,
    FLAT,
    GABLE,
    GROUND,
    HIP,
    MANSARD,
    PARAPET,
    SAW,
    SHED,
    Canvas,
    paint_disc,
    paint_roof,
)
from rsmvs.simulate.frame import Frame
from rsmvs.simulate.ground import paint_ground, paint_patch
from rsmvs.simulate.materials import INDEX
from rsmvs.simulate.styles import Place

_FLAT_TOPS = ("gravel", "bitumen", "white membrane", "concrete", "metal")
_PITCHED = ("tiles", "slate", "brown tiles", "metal", "adobe", "rust")
_STOREY = 2.9


@dataclass(frozen=True)
class Plan:
    """A rectangle in the town's frame: middle, sides along u and v."""

    u: float
    v: float
    length: float
    width: float


@dataclass(frozen=True)
class Builder:
    rng: random.Random
    canvas: Canvas
    frame: Frame
    place: Place

    def floor(self, plan: Plan) -> float | None:
        """Height that storeys count from: the highest ground at corners and middle; None where nothing can stand."""
        x, y = self.frame.cell(plan.u, plan.v)
        if self.canvas.class_at(x, y) != GROUND:
            return None
        corners = ((a * plan.length / 2, b * plan.width / 2) for a in (-1, 1) for b in (-1, 1))
        return max(self.canvas.height(*self.frame.cell(plan.u + a, plan.v + b)) for a, b in ((0.0, 0.0), *corners))

    def roof(self, plan: Plan, kind: int, eave: float, rise: float, material: str, tone: float = 1.0,
             period: float = 0.0, contrast: float = 0.0) -> None:
        """One roof over the plan; the ridge runs along the longer side."""
        step = self.canvas.step
        x, y = self.frame.cell(plan.u, plan.v)
        angle, a, b = self.frame.angle_at(plan.u, plan.v), plan.length, plan.width
        if b > a:
            a, b, angle = b, a, angle + math.pi / 2
        layers = self.canvas.layers
        paint_roof(layers, x, y, angle, a / 2 / step, b / 2 / step, kind, eave, rise, INDEX[material], tone, period / step,
                   contrast)  # fmt: skip

    def storeys(self, mean: float) -> int:
        return 1 + int(self.rng.expovariate(1.0 / max(mean - 0.5, 0.2)) * 0.6 + self.rng.uniform(0.4, 0.9) * (mean - 0.5))

    def house(self, plan: Plan, storeys: float) -> None:
        """A small building: pitched or flat, perhaps with a wing, a chimney, dormers, solar panels."""
        floor = self.floor(plan)
        if floor is None:
            return
        rng = self.rng
        eave = floor + _STOREY * self.storeys(storeys)
        if rng.random() > self.place.pitched:
            self.flat(plan, eave, self._flat_top())
            return
        slope, tone = rng.uniform(0.35, 0.95), rng.uniform(0.7, 1.3)
        kind = rng.choices((GABLE, HIP, SHED, MANSARD), (6, 3, 0.6, 0.8))[0]
        rise = min(plan.length, plan.width) / 2 * slope * (0.5 if kind == SHED else 1.0)
        material = self._pitched_top()
        rows = rng.uniform(0.8, 1.8), rng.uniform(0.03, 0.16)
        self.roof(plan, kind, eave, rise, material, tone, *rows)
        if rng.random() < 0.3:  # a wing at right angles: its ridge meets the main one
            side = rng.choice((-1, 1))
            wing = Plan(plan.u + rng.uniform(-0.2, 0.2) * plan.length, plan.v + side * plan.width * 0.45,
                        min(plan.length * 0.4, plan.width), plan.width * 0.9)  # fmt: skip
            self.roof(wing, GABLE, eave, wing.length / 2 * slope, material, tone, *rows)
        for _ in range(rng.choice((0, 1, 1, 2))):  # chimneys
            spot = Plan(plan.u + rng.uniform(-0.3, 0.3) * plan.length, plan.v + rng.uniform(-0.2, 0.2) * plan.width, 0.9, 0.9)
            self.roof(spot, FLAT, eave + rise + rng.uniform(0.2, 1.0), 0.0, "rust")
        if rng.random() < 0.2:
            self._panels(plan, 0.25)

    def flat(self, plan: Plan, eave: float, material: str) -> None:
        """A flat roof with its furniture: lift housings, ventilation, skylights, panels."""
        rng = self.rng
        kind = rng.choice((FLAT, PARAPET, PARAPET))
        seams = rng.uniform(2, 7), rng.choice((0.0, rng.uniform(0.02, 0.2)))
        self.roof(plan, kind, eave, rng.uniform(0.3, 1.0), material, rng.uniform(0.7, 1.25), *seams)
        for _ in range(min(int(rng.expovariate(60 / max(plan.length * plan.width, 1))), 25)):
            spot = Plan(plan.u + rng.uniform(-0.4, 0.4) * plan.length, plan.v + rng.uniform(-0.4, 0.4) * plan.width,
                        rng.uniform(0.8, 4.0), rng.uniform(0.8, 3.0))  # fmt: skip
            self.roof(spot, FLAT, eave + rng.uniform(0.4, 2.8), 0.0, rng.choice(_FLAT_TOPS), rng.uniform(0.6, 1.2))
        if rng.random() < 0.15:
            self._panels(plan, 0.35)

    def slab(self, plan: Plan, storeys: float) -> None:
        floor = self.floor(plan)
        if floor is not None:
            self.flat(plan, floor + _STOREY * max(self.storeys(storeys), 2), self._flat_top())

    def tower(self, plan: Plan, storeys: float) -> None:
        """Stacked storeys that step back, perhaps round."""
        floor = self.floor(plan)
        if floor is None:
            return
        rng, top = self.rng, floor
        height = _STOREY * min(max(self.storeys(storeys) * 1.6, 5), 60)
        material = rng.choice((*_FLAT_TOPS, "glass"))
        if rng.random() < 0.12:
            self._disc(plan, floor + height, 0.0, material)
            return
        parts = rng.choice((1, 1, 2, 3))
        side = Plan(plan.u, plan.v, plan.length, plan.width)
        for k in range(parts):
            top += height / parts * rng.uniform(0.7, 1.3)
            if k == parts - 1:
                self.flat(side, top, material)
            else:
                self.roof(side, PARAPET, top, 0.8, material, rng.uniform(0.7, 1.2))
            side = Plan(plan.u, plan.v, side.length * rng.uniform(0.55, 0.85), side.width * rng.uniform(0.55, 0.85))

    def hall(self, plan: Plan) -> None:
        """A factory, a shop, a barn: wide, low, of sheet metal."""
        floor = self.floor(plan)
        if floor is None:
            return
        rng = self.rng
        eave, tone = floor + rng.uniform(4, 12), rng.uniform(0.75, 1.25)
        kind = rng.choices((FLAT, GABLE, BARREL, SAW), (4, 2, 1, 1))[0]
        material = rng.choice(("metal", "metal", "white membrane", "bitumen", "blue metal", "rust"))
        if kind == FLAT:
            self.flat(plan, eave, material)
            return
        width = min(plan.length, plan.width)
        rise = {GABLE: width * 0.09, BARREL: width * 0.16, SAW: 2.4}[kind]
        self.roof(plan, kind, eave, rise, material, tone, rng.uniform(1.5, 4.0), rng.uniform(0.03, 0.2))

    def courtyard(self, plan: Plan, storeys: float) -> None:
        """A closed block: four wings about a yard."""
        deep = self.rng.uniform(9, 13)
        if min(plan.length, plan.width) < 2.2 * deep:
            self.house(plan, storeys)
            return
        floor = self.floor(plan)
        if floor is None:
            return
        rng = self.rng
        material, pitched = self._pitched_top(), rng.random() < self.place.pitched
        if not pitched:
            material = self._flat_top()
        for s in (-1, 1):
            wings = (
                Plan(plan.u, plan.v + s * (plan.width - deep) / 2, plan.length, deep),
                Plan(plan.u + s * (plan.length - deep) / 2, plan.v, deep, plan.width),
            )
            for wing in wings:
                eave = floor + _STOREY * (self.storeys(storeys) if rng.random() < 0.3 else max(round(storeys), 2))
                if pitched:
                    kind, tone = rng.choice((GABLE, MANSARD)), rng.uniform(0.8, 1.2)
                    self.roof(wing, kind, eave, deep / 2 * 0.8, material, tone, 1.2, 0.1)
                else:
                    self.flat(wing, eave, material)

    def church(self, plan: Plan) -> None:
        floor = self.floor(plan)
        if floor is None:
            return
        nave = Plan(plan.u, plan.v, 32.0, 13.0)
        self.roof(nave, GABLE, floor + 10, 8.0, "slate", 1.0, 1.2, 0.1)
        self.roof(Plan(plan.u + 4, plan.v, 11.0, 24.0), GABLE, floor + 9, 6.0, "slate", 1.0, 1.2, 0.1)
        self.roof(Plan(plan.u - 18, plan.v, 7.5, 7.5), HIP, floor + 24, 12.0, "slate")

    def tank(self, plan: Plan) -> None:
        floor = self.floor(plan)
        if floor is not None:
            self._disc(plan, floor + self.rng.uniform(6, 16), self.rng.choice((0.0, 1.0, 4.0)), "white membrane")

    def lot(self, plan: Plan, material: str, tone: float, period: float = 0.0, contrast: float = 0.0) -> None:
        """Another ground within the plan."""
        step = self.canvas.step
        x, y = self.frame.cell(plan.u, plan.v)
        angle = self.frame.angle_at(plan.u, plan.v)
        paint_ground(self.canvas.layers, x, y, angle, plan.length / 2 / step, plan.width / 2 / step, INDEX[material], tone,
                     period / step, contrast)  # fmt: skip

    def car(self, u: float, v: float, turn: float) -> None:
        """A parked car. It is painted, not built: its 1.5 m are below what the height field is asked for."""
        x, y = self.frame.cell(u, v)
        angle = self.frame.angle_at(u, v) + turn
        step, layers = self.canvas.step, self.canvas.layers
        paint_patch(layers, x + 0.7 / step, y + 0.5 / step, angle, 2.2 / step, 0.9 / step, 0.45, GROUND)  # its shadow
        paint_patch(layers, x, y, angle, 2.2 / step, 0.9 / step, self.rng.choice((0.35, 0.6, 1.4, 2.2, 3.2)), GROUND)

    def _panels(self, plan: Plan, share: float) -> None:
        x, y = self.frame.cell(plan.u, plan.v + 0.2 * plan.width)
        angle, step = self.frame.angle_at(plan.u, plan.v), self.canvas.step
        paint_patch(self.canvas.layers, x, y, angle, plan.length * share / step, plan.width * 0.15 / step, 0.4, BUILDING)

    def _disc(self, plan: Plan, eave: float, rise: float, material: str) -> None:
        x, y = self.frame.cell(plan.u, plan.v)
        radius = min(plan.length, plan.width) / 2 / self.canvas.step
        paint_disc(self.canvas.layers, x, y, radius, eave, rise, INDEX[material], self.rng.uniform(0.8, 1.2))

    def _flat_top(self) -> str:
        tops = [r for r in self.place.roofs if r not in ("tiles", "slate", "brown tiles")]
        return self.rng.choice(tops if tops and self.rng.random() < 0.6 else _FLAT_TOPS)

    def _pitched_top(self) -> str:
        tops = [r for r in self.place.roofs if r in _PITCHED]
        return self.rng.choice(tops or _PITCHED)
