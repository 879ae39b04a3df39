"""What a job needs: memory and processor time of each stage, from the configuration.

Light to import: the Snakefile uses it. The constants are fitted to measured jobs (docs/cluster.md; `python -m
benchmarks.stages RUN` compares them with any run): memory is what the process took at most, time that of one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rsmvs.options import Config

TRIALS = 4  # of a tile's job: as it is, again with more memory, with smaller windows; the last one gives the tile up

_MEMORY_MARGIN = 1.5  # asked for over what was measured
_TIME_MARGIN = 6.0  # slower cores, shared disks
_LEAST_MINUTES = 30
_OBLIQUE = 60.0  # m that a window is wider than its tile: views look from the side through the search range


@dataclass(frozen=True)
class Size:
    """What the needs of a run follow from. tile, window, scene: in millions of pixels (with halo), pixels, cells."""

    views: int
    tiles: int
    references: int
    sources: int
    tile: float
    window: float
    scene: float
    model: str
    refined: bool


@dataclass(frozen=True)
class Need:
    """Memory in MB and time of one core in seconds."""

    memory: float
    time: float


def size_of(config: Config, tiles: int, gsd: float | None = None) -> Size:
    """gsd (m): the finest of the images; that of the DSM where it is not known yet."""
    area, heights, select = config.area, config.heights, config.select
    views, step = len(config.images), gsd or area.resolution
    side = (area.tile_size + 2 * area.halo + _OBLIQUE) / step
    network = min(side, heights.window) if heights.model == "sgm" else min(side, heights.window, heights.learned.window)
    return Size(
        views=views,
        tiles=tiles,
        references=min(heights.max_views, select.max_sets, views),
        sources=min(select.max_sources * select.sets_per_reference, max(views - 1, 1)),
        tile=side**2 / 1e6,
        window=network**2 / 1e6,
        scene=tiles * (area.tile_size / area.resolution) ** 2 / 1e6,
        model=heights.model,
        refined=config.fuse.refine.weights != "none",
    )


# Learned models: MB of a megapixel of the network's window; CPU seconds of a megapixel of reference, and of source.
# casmvs and mvsr3d (tiny) are measured; ucs is casmvs with another search, red runs plane after plane in torch.
_LEARNED = {"casmvs": (3400, 12, 6), "ucs": (3400, 12, 6), "red": (3400, 30, 10), "mvsr3d": (4000, 17, 6)}


def _heights(size: Size) -> Need:
    layers = size.tile * size.references
    pairs = layers * size.sources
    if size.model == "sgm":
        return Need(255 + 45 * size.tile + size.window * (130 + 25 * size.sources), 2 + 1.8 * pairs)
    per_window, per_layer, per_pair = _LEARNED[size.model]
    return Need(450 + 45 * size.tile + per_window * size.window, 10 + per_layer * layers + per_pair * pairs)


def _bands(size: Size) -> float:
    """Layers with classes are so many times as large."""
    return 2.5 if size.model == "mvsr3d" else 1.0


def _fusion(size: Size) -> Need:
    network = Need(1900, 2 + 8 * size.tile) if size.refined else Need(0, 0)
    memory = 225 + size.tile * (160 + 38 * size.references) * _bands(size)
    return Need(memory + network.memory, 1 + 0.75 * size.tile * size.references + network.time)


_NEEDS: dict[str, Callable[[Size], Need]] = {
    "index_views": lambda s: Need(230, 1 + 0.3 * s.views),
    "match_views": lambda s: Need(400, 2 + 2 * min(s.views, 20)),
    "adjust_views": lambda s: Need(260 + 10 * s.views, 5 + 1.5 * s.views),
    "select_views": lambda s: Need(300 + 0.5 * s.views + 0.1 * s.tiles, 5 + 0.05 * s.tiles),
    "predict_rdm": lambda s: Need(900 + 60 * s.tile, 10 + 30 * s.tile * s.references),
    "predict_heights": _heights,
    "filter_heights": lambda s: Need(
        225 + s.tile * (100 + 14 * s.references) * _bands(s), 1 + 0.12 * s.tile * s.references * (s.references - 1)
    ),
    "fuse_tile": _fusion,
    "mosaic_scene": lambda s: Need(450 + 0.02 * s.tiles, 5 + 0.03 * s.tiles + 2 * s.scene),
    "pack_points": lambda s: Need(600 + 0.05 * s.tiles, 5 + 0.01 * s.tiles + 3 * s.scene),
    "derive_surfaces": lambda s: Need(600, 5 + 2 * s.scene),
    "evaluate": lambda s: Need(600, 5 + 2 * s.scene),
    "picture_scene": lambda s: Need(400, 5 + 0.1 * s.scene),
    "catalogue_scene": lambda s: Need(300, 5 + 0.2 * s.scene),
    "report_scene": lambda s: Need(600 + 0.1 * s.tiles, 10 + 0.1 * s.scene),
}


def need_of(stage: str, size: Size) -> Need:
    """What a job of a stage was seen to need."""
    return _NEEDS[stage](size)


def memory_mb(stage: str, size: Size, attempt: int) -> int:
    """To ask for; half as much again a retry, in steps of 100 MB."""
    wanted = need_of(stage, size).memory * _MEMORY_MARGIN * (1 + 0.5 * (min(attempt, TRIALS - 1) - 1))
    return 100 * math.ceil(wanted / 100)


def minutes(stage: str, size: Size, attempt: int) -> int:
    """To ask for, after which a job is ended; as much again a retry."""
    return attempt * max(_LEAST_MINUTES, math.ceil(need_of(stage, size).time * _TIME_MARGIN / 60))


def gpus(stage: str, model: str) -> int:
    """GPUs that make a job of the stage faster."""
    return int(stage == "predict_rdm" or (stage == "predict_heights" and model != "sgm"))
