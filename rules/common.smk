# What all rules share: the configuration, the names that follow from it, and what a job needs.
# Functions live here alone. Every cluster job reads this file again, so it imports nothing heavy.

from pathlib import Path

from rsmvs.config import as_dict, config_from_dict, tiles, view_ids

CONFIG = config_from_dict(config, workflow.configfiles[-1])
VIEWS = view_ids(CONFIG)
TILES = [tile.name for tile in tiles(CONFIG)]
MOSAICS = [
    "dsm.tif",
    "n_views.tif",
    "confidence.tif",
    "ortho.tif",
    "uncertainty.tif",
    "status.tif",
    "points.laz",
    "ledger.json",
]
DERIVED = ["dtm.tif", "ndsm.tif", "dsm_filled.tif", "filling.tif"]
PRODUCTS = MOSAICS + DERIVED + ["points.copc.laz"]
REPORTS = ["preview.png", "item.json", "manifest.json", "report.html"]
EVALUATED = ["metrics.json"] if CONFIG.reference.dsm else []


wildcard_constraints:
    tile=r"x-?\d+_y-?\d+",
    view=r"[^/]+",


def area(*keys):
    """The named options of the area, so that a rule depends on those alone."""
    return {key: value for key, value in as_dict(CONFIG.area).items() if key in keys}


def local_files(*paths):
    """Those of the paths that Snakemake can watch: a missing or a remote file is left to the stage that reads it."""
    return [path for path in paths if path and Path(path).is_file()]


def image_files():
    """Images, and the files that the configuration names beside them."""
    named = ((i.path, i.camera, i.colour, i.colour_camera, *i.masks) for i in CONFIG.images)
    return local_files(*(path for paths in named for path in paths))


def match_mb(wildcards, attempt):
    """Memory of matching one window: its size counts, the number of views does not. Half as much again a retry."""
    megapixels = (CONFIG.heights.window / 1000) ** 2
    return int((600 + 600 * megapixels) * (1 + 0.5 * (attempt - 1)))


def tile_mb(wildcards, attempt):
    """Memory of fusing one tile: a few layers of its cells beside the interpreter. Half as much again a retry."""
    megacells = ((CONFIG.area.tile_size + 2 * CONFIG.area.halo) / CONFIG.area.resolution / 1000) ** 2
    return int((500 + 200 * megacells) * (1 + 0.5 * (attempt - 1)))
