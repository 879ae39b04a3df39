"""The frame (u, v) in metres in which a town is laid out: turned against the grid, and bent."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Frame:
    """bend: displacement (m) of two slow waves (wavelengths m, phases rad) that keep streets from being straight."""

    angle: float
    step: float
    centre: tuple[float, float]  # (col, row) of u = v = 0
    bend: float = 0.0
    waves: tuple[float, float, float, float] = (400.0, 0.0, 400.0, 0.0)

    def cell(self, u: Any, v: Any) -> tuple[Any, Any]:
        """(x, y) in cells."""
        sin = np.sin if isinstance(u, np.ndarray) or isinstance(v, np.ndarray) else math.sin
        l1, p1, l2, p2 = self.waves
        a = u + self.bend * sin(2 * math.pi * v / l1 + p1)
        b = v + self.bend * sin(2 * math.pi * u / l2 + p2)
        c, s = math.cos(self.angle) / self.step, math.sin(self.angle) / self.step
        return self.centre[0] + a * c - b * s, self.centre[1] + a * s + b * c

    def angle_at(self, u: float, v: float) -> float:
        """Direction of growing u on the grid, radians; halfway between those of the two axes where these are sheared."""
        l1, p1, l2, p2 = self.waves
        along_u = self.bend * 2 * math.pi / l2 * math.cos(2 * math.pi * u / l2 + p2)
        along_v = self.bend * 2 * math.pi / l1 * math.cos(2 * math.pi * v / l1 + p1)
        return self.angle + (math.atan(along_u) - math.atan(along_v)) / 2

    def path(self, u: tuple[float, float], v: tuple[float, float], every: float = 8.0) -> np.ndarray:
        """Cells (n, 2) along the line from (u0, v0) to (u1, v1) of the frame."""
        n = max(int(math.hypot(u[1] - u[0], v[1] - v[0]) / every), 1) + 1
        x, y = self.cell(np.linspace(*u, n), np.linspace(*v, n))
        return np.ascontiguousarray(np.stack([x, y], axis=-1))


def draw_frame(rng: random.Random, step: float, centre: tuple[float, float], bend: float) -> Frame:
    waves = (rng.uniform(250, 600), rng.uniform(0, 6.3), rng.uniform(250, 600), rng.uniform(0, 6.3))
    return Frame(rng.uniform(-math.pi / 4, math.pi / 4), step, centre, bend, waves)
