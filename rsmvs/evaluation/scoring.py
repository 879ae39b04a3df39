"""A surface model against a reference surface, block by block: errors raw and registered, by class and by slope."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from rsmvs.errors import CoverageError
from rsmvs.evaluation.alignment import FAR, SMOOTHING, Patch, Shift, bilinear, cells_of, pixel_rates, search_shift, smoothed
from rsmvs.evaluation.metrics import Calibration, ClassErrors, HeightErrors, Volumes
from rsmvs.io.surfaces import Surface
from rsmvs.types import CLASS_CODES, CLASS_NAMES, F64, Window

SLOPES = (0.0, 5.0, 20.0, 40.0, 90.0)  # degrees: flat, hilly, steep ground and roofs, walls
STANDING = 2.0  # m above the ground
BUILT = (6, 17)  # building, elevated road
_SEARCH_BLOCK = 512  # cells
_SEARCH_BLOCKS = 16  # blocks used for the search, spread over the area
_SEARCH_LOOKS = 64  # blocks looked at to find them
_SEARCH_CELLS = 60_000


@dataclass(frozen=True)
class Scene:
    """What is compared: a surface and its truth, and class maps where there are any, all seen in the truth's CRS."""

    surface: Surface
    truth: Surface
    truth_classes: Surface | None = None
    classes: Surface | None = None
    sigma: Surface | None = None
    terrain: Surface | None = None  # of the truth


@dataclass(frozen=True)
class Block:
    """Valid truth cells of one window. errors (n,): surface - truth in metres, NaN without a value; x, y (n,) metres."""

    errors: F64
    truth: F64  # metres
    slope: F64  # degrees, of the truth; NaN at its rim
    x: F64
    y: F64


def score(scene: Scene, *, align: bool = True, max_shift: float = 3.0, step: float = 0.25) -> dict[str, Any]:
    """Figures of the scene: `raw`, `shift`, `aligned`, `by_class`, `by_slope`, `classes`, `standing`, `uncertainty`,
    `histogram`; those that the scene has the data for.

    The shift is the translation (m) that was added to the surface for everything but `raw`. Errors: CoverageError when
    no cell of the truth has a value.
    """
    raw = _heights(scene, Shift())
    if raw["all"].truth_cells == 0:
        raise CoverageError(scene.truth.dataset.name, "holds no valid cell", "give a reference surface with heights")
    groups, shift = raw, Shift()
    if align:
        dx, dy = search_shift(search_patches(scene), max_shift, step)
        if (dx, dy) != (0.0, 0.0):
            moved = _heights(scene, Shift(dx, dy))
            if moved["all"].misfit(FAR) < raw["all"].misfit(FAR):  # never worse than the vertical shift alone
                groups, shift = moved, Shift(dx, dy)
        if groups["all"].counts.any():
            shift = Shift(shift.dx, shift.dy, round(-groups["all"].median(), 4))
    out: dict[str, Any] = {"raw": raw["all"].result()}
    if align:
        out["shift"] = {"dx": shift.dx, "dy": shift.dy, "dz": shift.dz}
        out["aligned"] = groups["all"].result(shift.dz)
    for kind in ("class", "slope"):
        found = {k.removeprefix(kind + " "): g.result(shift.dz) for k, g in groups.items() if k.startswith(kind + " ")}
        if found:
            out[f"by_{kind}"] = found
    if scene.classes is not None and scene.truth_classes is not None:
        out["classes"] = _classes(scene, shift)
    if scene.terrain is not None:
        out["standing"] = _standing(scene, shift)
    if scene.sigma is not None:
        out["uncertainty"] = _calibration(scene, shift)
    out["histogram"] = groups["all"].histogram(shift.dz)
    return out


def blocks(scene: Scene, shift: Shift, size: int = 1024) -> Iterator[Block]:
    """Errors of the shifted surface, window by window of the truth."""
    rates: F64 | None = None
    for window in scene.truth.blocks(size):
        heights = scene.truth.read(window.grown(1))
        inner = heights[1:-1, 1:-1]
        known = np.isfinite(inner)
        if not known.any():
            continue
        slope = _slope(heights, scene.truth)[1:-1, 1:-1][known]
        x, y = (v[known] for v in scene.truth.centres(window))
        col, row = scene.surface.to_pixel(x, y)
        if shift.dx or shift.dy:
            rates = pixel_rates(scene.surface.to_pixel, x[::97], y[::97]) if rates is None else rates
            dc, dr = rates @ np.array([shift.dx, shift.dy])
            col, row = col - dc, row - dr
        around = scene.surface.window_around(col, row)
        sampled = bilinear(scene.surface.read(around), col - around.col, row - around.row)
        yield Block(sampled - inner[known] + shift.dz, inner[known], slope, x, y)


def _slope(heights: F64, truth: Surface) -> F64:
    t = truth.dataset.transform
    down, across = np.gradient(heights, abs(t.e), abs(t.a))
    return np.degrees(np.arctan(np.hypot(down, across)))


def _heights(scene: Scene, shift: Shift) -> dict[str, HeightErrors]:
    """Accumulators by name: all, 'class ground', 'slope 5-20', ... those that met a cell."""
    groups = {"all": HeightErrors()}

    def feed(name: str, errors: F64) -> None:
        if errors.size:
            groups.setdefault(name, HeightErrors()).feed(errors)

    for block in blocks(scene, shift):
        feed("all", block.errors)
        for low, high in pairwise(SLOPES):
            feed(f"slope {low:g}-{high:g}", block.errors[(block.slope >= low) & (block.slope < high)])
        if scene.truth_classes is not None:
            labels = scene.truth_classes.labels_at(block.x, block.y)
            for label in np.unique(labels):
                feed(f"class {class_name(int(label))}", block.errors[labels == label])
    return groups


def class_name(code: int) -> str:
    """Name of a LAS code: 'building'; 'no data' for 0 and the number for others."""
    if code == 0:
        return "no data"
    return CLASS_NAMES[CLASS_CODES.index(code)] if code in CLASS_CODES else str(code)


def _classes(scene: Scene, shift: Shift) -> dict[str, Any]:
    errors = ClassErrors(CLASS_CODES)
    for block in blocks(scene, shift):
        assert scene.classes is not None and scene.truth_classes is not None
        predicted = scene.classes.labels_at(block.x, block.y)
        errors.feed(predicted, scene.truth_classes.labels_at(block.x, block.y), block.errors)
    return errors.result() | {"names": [class_name(c) for c in CLASS_CODES]}


def score_classes(classes: Surface, truth: Surface) -> dict[str, Any]:
    """Figures of a class map on the cells of a true one, without heights; CoverageError when none of these has a class."""
    errors = ClassErrors(CLASS_CODES)
    for window in truth.blocks():
        x, y = truth.centres(window)
        errors.feed(classes.labels_at(x, y), truth.read_labels(window))
    if not errors.confusion.any():
        raise CoverageError(truth.dataset.name, "holds no known class", "give a map of LAS codes: 2, 5, 6, 9, 17")
    return errors.result(heights=False) | {"names": [class_name(c) for c in CLASS_CODES]}


def _calibration(scene: Scene, shift: Shift) -> dict[str, Any]:
    errors = Calibration()
    for block in blocks(scene, shift):
        assert scene.sigma is not None
        errors.feed(block.errors, scene.sigma.values_at(block.x - shift.dx, block.y - shift.dy))
    return errors.result()


def _standing(scene: Scene, shift: Shift) -> dict[str, Any]:
    """Buildings and bridges where both class maps are there, else all that is higher than STANDING above the ground."""
    volumes = Volumes()
    for block in blocks(scene, shift):
        assert scene.terrain is not None
        truth = block.truth - scene.terrain.values_at(block.x, block.y)
        surface = truth + block.errors
        if scene.classes is not None and scene.truth_classes is not None:
            maps = (scene.classes, scene.truth_classes)
            masks = [np.isin(m.labels_at(block.x, block.y), BUILT) for m in maps]
        else:
            masks = [surface > STANDING, truth > STANDING]
        volumes.feed(surface, truth, *masks)
    return volumes.result()


def search_patches(scene: Scene) -> list[Patch]:
    """Windows spread evenly over the area in which surface and truth overlap, for `search_shift`."""
    windows = list(scene.truth.blocks(_SEARCH_BLOCK))
    looks = windows[:: max(1, len(windows) // _SEARCH_LOOKS)]
    found = [p for p in (_patch(scene, w) for w in looks) if p is not None]
    found = found[:: -(-len(found) // _SEARCH_BLOCKS)] if found else []
    share = _SEARCH_CELLS // max(1, len(found))
    rng = np.random.default_rng(0)
    return [_thinned(p, np.sort(rng.choice(len(p.truth), min(share, len(p.truth)), replace=False))) for p in found]


def _thinned(patch: Patch, kept: Any) -> Patch:
    return Patch(patch.surface, patch.truth[kept], patch.col[kept], patch.row[kept], patch.px_per_m)


def _patch(scene: Scene, window: Window) -> Patch | None:
    heights = scene.truth.read(window)
    known = np.isfinite(heights)
    if known.mean() < 0.1:
        return None
    x, y = (v[known] for v in scene.truth.centres(window))
    col, row = scene.surface.to_pixel(x, y)
    rates = pixel_rates(scene.surface.to_pixel, x[::97], y[::97])
    per_m = np.abs(rates).sum(axis=1)  # (col, row) pixels of the surface per metre
    around = scene.surface.window_around(col, row, margin=int(np.ceil(5 * per_m.max())))  # the shift and the smoothing
    surface = scene.surface.read(around)
    if np.isfinite(surface).mean() < 0.1:
        return None
    t = scene.truth.dataset.transform
    truth = smoothed(heights, (cells_of(SMOOTHING, 1 / abs(t.e)), cells_of(SMOOTHING, 1 / abs(t.a))))[known]
    surface = smoothed(surface, (cells_of(SMOOTHING, per_m[1]), cells_of(SMOOTHING, per_m[0])))
    return Patch(surface, truth, col - around.col, row - around.row, rates)
