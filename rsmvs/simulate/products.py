"""Semi-real scenes: a DSM and an orthoimage of a finished run as the surface and its look.

Shapes and textures are real, and so are the shadows, which the orthoimage carries: nothing is lit again. The truth is
exact for the new views, whatever errors the DSM had.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rsmvs.errors import CoverageError
from rsmvs.geometry.grid import Bounds, Grid
from rsmvs.simulate.materials import INDEX, MATERIALS, PAN, Palette
from rsmvs.simulate.radiometry import FULL_SCALE, SKY
from rsmvs.simulate.render import Light
from rsmvs.simulate.samples import SampleOptions, ViewSet, satellite_views
from rsmvs.simulate.scene import Scene
from rsmvs.types import F32, UNLABELLED

_LAYERS = ("surface", "terrain", "classes", "material", "albedo")
_BRIGHT = 0.8  # share of the sensor's range that the brightest per cent of the orthoimage takes
_RIM = 0.12  # share of the extent, on each side, that oblique lines of sight may end on


def product_scene(
    crs: str, grid: Grid, dsm: F32, ortho: F32, classes: NDArray[Any] | None = None, dtm: F32 | None = None
) -> Scene:
    """The scene of a run's products, all (h, w) on `grid`, NaN without data; classes: index into CLASS_NAMES."""
    if not np.isfinite(dsm).any() or not np.isfinite(ortho).any():
        raise CoverageError("products", "hold no data", "give a run that found heights")
    fine = Grid(grid.x0 + grid.step / 4, grid.y0 - grid.step / 4, grid.step / 2, 2 * grid.width - 1, 2 * grid.height - 1)
    surface, look = _doubled(_closed(dsm), cv2.INTER_LINEAR), _doubled(_closed(ortho), cv2.INTER_CUBIC)
    bright = max(float(np.percentile(look, 99)), 1e-6)
    labels = np.full(dsm.shape, UNLABELLED, np.int8) if classes is None else np.asarray(classes, np.int8)
    return Scene(
        crs, fine, shrunk(grid.bounds, _RIM), surface,
        surface if dtm is None else np.minimum(_doubled(_closed(dtm), cv2.INTER_LINEAR), surface),
        np.ascontiguousarray(np.repeat(np.repeat(labels, 2, 0), 2, 1)[:-1, :-1]),
        np.full(surface.shape, INDEX["concrete"], np.uint8),
        np.clip(look / bright, 0.002, 2.0).astype(np.float32), _flat_palette(), np.empty((0, 4)),
    )  # fmt: skip


def shrunk(bounds: Bounds, share: float) -> Bounds:
    dx, dy = share * (bounds[2] - bounds[0]), share * (bounds[3] - bounds[1])
    return bounds[0] + dx, bounds[1] + dy, bounds[2] - dx, bounds[3] - dy


def _flat_palette() -> Palette:
    """One reflectance for all: the look is in the albedo."""
    level = np.float32(_BRIGHT * FULL_SCALE / float(SKY @ PAN))
    table = np.full((len(MATERIALS), 4), level, np.float32)
    return Palette(table, table * np.float32(0.8))


def baked_light(scene: Scene) -> Light:
    """Light from all sides: shadows and slopes are in the orthoimage already."""
    shape = scene.surface.shape
    return Light((0.0, 0.0, 0.0), np.full(shape, -1e9, np.float32), np.ones(shape, np.float32))


def _closed(values: F32) -> F32:
    known = np.isfinite(values)
    if known.all():
        return np.asarray(values, np.float32)
    i, j = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(values[i, j], np.float32)


def _doubled(values: F32, how: int) -> F32:
    """Nodes at the cell centres and halfway between them."""
    h, w = values.shape
    x, y = np.meshgrid(np.arange(2 * w - 1, dtype=np.float32) / 2, np.arange(2 * h - 1, dtype=np.float32) / 2)
    return np.asarray(cv2.remap(values, x, y, how, borderMode=cv2.BORDER_REPLICATE), np.float32)


def product_sample(scene: Scene, seed: int, options: SampleOptions) -> ViewSet:
    """Random views of a random part of a semi-real scene; the GSD is at least the products' own."""
    dice = random.Random(f"products {seed}")
    gsd = 2 * scene.grid.step * dice.uniform(1.0, 1.4)
    side = max(options.width, options.height) * gsd
    # the image is turned by the flight direction, and oblique lines of sight end beside it
    lean = float(np.tan(np.radians(options.incidence_max))) * (scene.heights[1] - scene.heights[0])
    cells = min(round((1.3 * side + lean) / scene.grid.step), *scene.surface.shape)
    h, w = scene.surface.shape
    part = _part(scene, dice.randrange(0, h - cells + 1), dice.randrange(0, w - cells + 1), cells)
    views = satellite_views(part, dice, replace(options, other_date=0.0), gsd, seed, baked_light(part))
    return ViewSet(part, views, np.zeros((len(views), 2)), gsd, seed, "products")


def _part(scene: Scene, row: int, col: int, cells: int) -> Scene:
    area = slice(row, row + cells), slice(col, col + cells)
    g = scene.grid
    grid = Grid(g.x0 + col * g.step, g.y0 - row * g.step, g.step, cells, cells)
    layers: dict[str, Any] = {n: np.ascontiguousarray(getattr(scene, n)[area]) for n in _LAYERS}
    return replace(scene, grid=grid, area=shrunk(grid.bounds, _RIM), **layers)
