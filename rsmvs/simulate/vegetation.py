"""Trees: single ones, along streets, in parks and orchards, and woods."""

from __future__ import annotations

import numpy as np

from rsmvs.simulate.buildings import Plan
from rsmvs.simulate.canvas import Canvas
from rsmvs.simulate.frame import Frame
from rsmvs.simulate.ground import paint_crowns
from rsmvs.simulate.materials import INDEX
from rsmvs.simulate.noise import fractal_noise, smooth_noise
from rsmvs.simulate.styles import Place
from rsmvs.types import F64


def plant(rng: np.random.Generator, canvas: Canvas, frame: Frame, place: Place, streets: list[F64], parks: list[Plan],
          scale: float) -> None:
    """Everything that grows. scale: trees are that much larger and rarer (coarse images need no single bushes)."""
    h, w = canvas.terrain.shape
    step = canvas.step
    count = round(place.trees * h * w * step**2 / 1e4 / scale**2)
    spots = [rng.uniform(0, 1, (count, 2)) * (w, h), _clumps(rng, (h, w), count // 2, 9 * scale / step)]
    spots += [_avenue(rng, path, step) for path in streets if rng.random() < min(place.trees / 60, 0.6)]
    spots += [_park(rng, frame, plan, scale) for plan in parks]
    single = _trees(rng, np.concatenate(spots), step, scale, rng.uniform(0, 0.5), rng.uniform(*place.tall), place.crown)
    close = _wood(rng, (h, w), place.forest, 4.6 * scale / step)
    wood = _trees(rng, close, step, scale, rng.choice([0.0, 0.15, 0.9]), 13.0, place.crown)
    rough = fractal_noise(rng, (h, w), max(3.2 * scale / step, 2.0), 2, 0.5)
    trees = np.concatenate([single, wood])
    rough *= rng.spawn(1)[0].uniform(*place.rough)  # a stream of its own: what is drawn after it stays the same
    paint_crowns(canvas.layers, canvas.terrain, rough, np.ascontiguousarray(trees), INDEX["asphalt"])


def _trees(rng: np.random.Generator, spots: F64, step: float, scale: float, conifers: float, height: float,
           crown: tuple[float, float]) -> F64:
    """(n, 8) as `paint_crowns` takes them."""
    n = len(spots)
    high = (rng.gamma(7, height / 7, n) + 2.0) * scale
    conifer = rng.random(n) < conifers
    radius = high * np.where(conifer, rng.uniform(0.14, 0.22, n), rng.uniform(*crown, n)) / step
    kind = np.where(conifer, INDEX["conifer"], INDEX["broadleaf"])
    kind = np.where((high < 4 * scale) & (rng.random(n) < 0.6), INDEX["scrub"], kind)
    cone = np.where(conifer, 0.85, rng.uniform(0, 0.25, n))
    columns = (spots[:, 0], spots[:, 1], np.maximum(radius, 1.2), 0.12 * high, high, cone, kind, rng.uniform(0.75, 1.3, n))
    return np.stack([np.asarray(c, np.float64) for c in columns], axis=1)


def _clumps(rng: np.random.Generator, shape: tuple[int, int], count: int, spread: float) -> F64:
    centres = rng.uniform(0, 1, (max(count // 10, 1), 2)) * shape[::-1]
    return centres[rng.integers(0, len(centres), count)] + rng.normal(0, spread, (count, 2))


def _avenue(rng: np.random.Generator, path: F64, step: float) -> F64:
    """Trees on both sides of a street, some missing."""
    spots = []
    for side in (-1, 1):
        d = np.diff(path, axis=0)
        normal = np.stack([-d[:, 1], d[:, 0]], axis=1) / np.maximum(np.linalg.norm(d, axis=1), 1e-9)[:, None]
        spots.append(path[:-1] + side * normal * 6.5 / step)
    both = np.concatenate(spots)
    return both[rng.random(len(both)) < 0.7]


def _park(rng: np.random.Generator, frame: Frame, plan: Plan, scale: float) -> F64:
    """Trees in rows (an orchard) or anywhere."""
    if rng.random() < 0.4:
        gap = rng.uniform(5, 9) * scale
        u, v = np.meshgrid(np.arange(gap, plan.length, gap), np.arange(gap, plan.width, gap))
    else:
        n = int(plan.length * plan.width / (90 * scale**2))
        u, v = rng.uniform(0, plan.length, n), rng.uniform(0, plan.width, n)
    x, y = frame.cell(plan.u - plan.length / 2 + u.ravel(), plan.v - plan.width / 2 + v.ravel())
    return np.stack([x, y], axis=1)


def _wood(rng: np.random.Generator, shape: tuple[int, int], share: float, gap: float) -> F64:
    """Places of trees that stand close, over `share` of the land, in patches with clear edges."""
    if share <= 0.01:
        return np.empty((0, 2))
    nx, ny = int(shape[1] / gap) + 1, int(shape[0] / gap) + 1
    patches = smooth_noise(rng, (ny, nx), max(nx, ny) / 2.5) + 0.25 * smooth_noise(rng, (ny, nx), 8)
    inside = patches > np.quantile(patches, 1 - share)
    rows, cols = np.nonzero(inside)
    return (np.stack([cols, rows], axis=1) + rng.uniform(0, 1, (len(rows), 2))) * gap
