"""Training samples of the refinement on the ground grid: the model-free pipeline run on simulated views, in memory."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.fusion.evidence import STEPS, gather
from rsmvs.fusion.ortho import Look
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.warp import build_warp_field
from rsmvs.io.ground_samples import GroundSample, write_ground_sample
from rsmvs.network_options import GroundDataOptions
from rsmvs.networks import sgm
from rsmvs.networks.matcher import Source, ViewStack
from rsmvs.options import FilterOptions, FuseOptions, SgmOptions
from rsmvs.simulate.samples import SampleOptions, ViewSet, training_sample
from rsmvs.stages.heights import checked
from rsmvs.stages.tile import Layer, field_onto
from rsmvs.stages.tile_fusion import surface_of
from rsmvs.types import F32, View, Window

_EVALUATION_SEED = 90_000_000  # of the fixed set: far from every training seed
_RIM = 0.08  # share of the area left out on each side: what few views see


def ground_sample(views: ViewSet, slack: float = 15.0) -> GroundSample:
    """Every view is matched with all others, checked and fused; truth and evidence on a grid of twice the scene's step.

    slack: m searched beyond the scene's heights.
    """
    scene = views.scene
    low, high = scene.heights
    search = (low - slack, high + slack)
    images = [_floats(v.image) for v in views.views]
    layers = list(checked([_matched(views, images, k, search) for k in range(len(images))], search, FilterOptions()))
    grid = _grid(views)
    surface = surface_of(layers, search, scene.crs, FuseOptions(), grid)
    looks = [
        Look(image, layer.bands["height"], field_onto(layer.view, layer.window, grid, scene.crs, search))
        for image, layer in zip(images, layers, strict=True)
    ]
    evidence = gather(surface.height, surface.confidence, surface.n_views, looks, grid.step)
    so_far = evidence.heights[STEPS.index(0.0)]
    target = np.where(evidence.views >= 2, scene.truth(scene.surface, grid) - so_far, np.nan) / grid.step
    classes = scene.truth(scene.classes, grid).astype(np.int8)
    offsets = (evidence.heights - so_far) / np.float32(grid.step)
    return GroundSample(offsets, evidence.channels, evidence.base, target.astype(np.float32), classes, grid.step)


def _floats(image: Any) -> F32:
    return np.where(image == 0, np.nan, image).astype(np.float32)


def _matched(views: ViewSet, images: list[F32], k: int, search: tuple[float, float]) -> Layer:
    reference = views.views[k].camera
    window = Window(0, 0, images[k].shape[1], images[k].shape[0])
    sources = tuple(
        Source(images[j], build_warp_field(reference, views.views[j].camera.project, window, search))
        for j in range(len(images)) if j != k
    )
    found = sgm.match(ViewStack(images[k], sources, search, views.gsd), SgmOptions())
    view = View(str(k), "", reference, "simulated", window.width, window.height, 0.0, (1.0,), None, None, 0.0, 0.0, views.gsd,
                (), "")
    return Layer(view, window, {"height": found.height, "confidence": found.confidence, "sigma": found.sigma})


def _grid(views: ViewSet) -> Grid:
    """Cells of twice the scene's step whose centres are its nodes, over the middle of the area."""
    fine, (xmin, _, xmax, ymax) = views.scene.grid, views.scene.area
    step = 2 * fine.step
    rim = _RIM * (xmax - xmin)
    col, row = round((xmin + rim - fine.x0) / fine.step), round((fine.y0 - ymax + rim) / fine.step)
    side = int((xmax - xmin - 2 * rim) / step) // 8 * 8
    return Grid(fine.x0 + (col - 0.5) * fine.step, fine.y0 - (row - 0.5) * fine.step, step, side, side)


def write_ground_samples(data: GroundDataOptions, folder: str | Path) -> int:
    """The simulated samples of a training as files, where they are not there yet; returns how many there are.

    The fixed set comes last by name and from seeds that no training has.
    """
    options = SampleOptions(width=data.size, height=data.size, gsd_min=data.gsd_min, gsd_max=data.gsd_max, other_date=0.05,
                            clouds=0.02, haze=0.2, incidence_max=28.0, angle_max=35.0)  # as views of one tile are selected
    seeds = [*range(data.first_seed, data.first_seed + data.count - data.evaluation)]
    seeds += range(_EVALUATION_SEED, _EVALUATION_SEED + data.evaluation)
    for seed in seeds:
        path = Path(folder) / f"g{seed:08d}.npz"
        if not path.exists():
            views = random.Random(f"views {seed}").randint(data.views_min, data.views_max)
            style = data.styles[seed % len(data.styles)] if data.styles else options.style
            write_ground_sample(path, ground_sample(training_sample(seed, replace(options, views=views, style=style))))
    return len(seeds)
