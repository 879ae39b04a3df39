"""The fused surface of a tile, refined by a network on the ground grid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from rsmvs.fusion.dsm import Surface
from rsmvs.fusion.evidence import BASE, CANDIDATES, CHANNELS, POOLED, REACH, STEPS, gather, holding
from rsmvs.fusion.ortho import Look
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.windows import parts
from rsmvs.io.raster import read_image
from rsmvs.io.weights import read_weights
from rsmvs.network_options import RefinerOptions
from rsmvs.networks.ground_refiner import GroundRefiner, chosen
from rsmvs.networks.learned import restored
from rsmvs.networks.memory import keep_freed_memory
from rsmvs.options import FuseOptions
from rsmvs.stages.tile import Layer, field_onto
from rsmvs.types import F32, Window

_WINDOW = 896  # cells, side of the windows that go through the network: bounds the memory
_SIGMA = 0.5  # of the expected distance: errors have heavy tails, and one sigma shall hold two thirds (docs/refinement.md)
_GSD_MARGIN = 1.5  # factor around the trained cell sizes within which a grid counts as known


class Refiner:
    """One set of weights, for any surface. notes: what a user should know."""

    def __init__(self, weights: str, threads: int = 1) -> None:
        stored = read_weights(weights)
        self.network = restored(GroundRefiner, RefinerOptions, "GroundRefiner", stored.tensors, stored.card, stored.path)
        self.domain = stored.card.get("domain", {})
        o = self.network.options
        assert (o.candidates, o.channels, o.base, o.own) == (CANDIDATES, CHANNELS, BASE, STEPS.index(0.0))
        torch.set_num_threads(threads)
        keep_freed_memory()

    def notes(self, cell: float) -> tuple[str, ...]:
        low, high = self.domain.get("gsd", (0.0, np.inf))
        if low / _GSD_MARGIN <= cell <= high * _GSD_MARGIN:
            return ()
        return (f"the refinement was trained for cells of {low:g} to {high:g} m, the grid has {cell:g} m",)

    def __call__(self, surface: Surface, looks: Sequence[Look], cell: float, merge: float, window: int = _WINDOW) -> Surface:
        """The surface with every cell's likeliest height, its probability as confidence, and what it may be off as sigma.

        surface: on a grid whose first cell lies on a multiple of POOLED cells. looks: fields from its cells.
        window: cells, side of the windows that go through the network.
        """
        h, w = surface.height.shape
        found = np.full((3, h, w), np.nan, np.float32)
        for part, core in parts(Window(0, 0, w, h), window, REACH):
            rows, cols = core.row - part.row, core.col - part.col
            better = self._window(surface, looks, cell, part)
            found[:, *core.slices] = better[:, rows : rows + core.height, cols : cols + core.width]
        height, confidence, sigma = found
        return Surface(height, holding(height, looks, merge), confidence, sigma)

    def _window(self, surface: Surface, looks: Sequence[Look], cell: float, part: Window) -> F32:
        """(3, h, w): height, confidence, sigma of a window; NaN where fewer than two views look: nothing is measured there."""
        here = surface.height[part.slices]
        if not np.isfinite(here).any():
            return np.full((3, *here.shape), np.nan, np.float32)
        moved = [Look(x.image, x.height, x.field.moved(part.col, part.row, 0, 0)) for x in looks]
        evidence = gather(here, surface.confidence[part.slices], surface.n_views[part.slices], moved, cell)
        k, c, h, w = evidence.channels.shape
        channels = np.concatenate([evidence.channels.reshape(k * c, h, w), evidence.base])
        so_far = evidence.heights[STEPS.index(0.0)]
        rim = ((0, 0), (0, -h % POOLED), (0, -w % POOLED))
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(np.pad(channels, rim, mode="edge"))[None])[0, :, :h, :w]
        choice = chosen(logits, (evidence.heights - so_far) / np.float32(cell))
        found = np.stack([so_far + np.float32(cell) * choice.height, choice.sure, np.float32(_SIGMA * cell) * choice.spread])
        return np.where(evidence.views >= 2, found, np.nan).astype(np.float32)


@lru_cache(maxsize=2)
def refiner_of(weights: str) -> Refiner:
    """Read once a process."""
    return Refiner(weights)


def refined(
    surface: Surface, layers: list[Layer], height_range: tuple[float, float], crs: str, options: FuseOptions, grid: Grid,
    smaller: bool = False,
) -> tuple[Surface, tuple[str, ...]]:  # fmt: skip
    """The surface of a grid refined from what the layers' images show, and notes for the ledger.

    Cells that are less sure than the options ask have no height. smaller: in windows of half the size, after a trial that
    ran out of memory.
    """
    refiner = refiner_of(options.refine.weights)
    looks = []
    for layer in layers:
        field = field_onto(layer.view, layer.window, grid, crs, height_range)
        looks.append(Look(read_image(layer.view, layer.window), layer.bands["height"], field))
    side = _WINDOW // 2 if smaller else _WINDOW
    note = (f"refined in windows of {side} cells for want of memory",) if smaller and max(grid.shape) > side else ()
    better = refiner(surface, looks, grid.step, options.merge, side)
    # The squared error that a cell may bring, for its chance to be right: what is likely right may be farther off. False where
    # there is no height.
    sure = better.sigma <= options.refine.max_sigma * grid.step * np.sqrt(better.confidence)
    return better._replace(height=np.where(sure, better.height, np.nan).astype(np.float32)), refiner.notes(grid.step) + note
