# What all rules share: the configuration, the names that follow from it, and what a job needs.
# Functions live here alone. Every cluster job reads this file again, so it imports nothing heavy.

import json
import os
from functools import cache
from hashlib import sha256
from pathlib import Path

from rsmvs.config import as_dict, config_from_dict, frozen_views, tiles, view_ids
from rsmvs.resources import gpus, memory_mb, minutes, size_of

CONFIG = config_from_dict(config, workflow.configfiles[-1])
VIEWS = view_ids(CONFIG)
FROZEN = frozen_views(CONFIG)
TILES = [tile.name for tile in tiles(CONFIG)]
# The plan of the area is of no account once it is made: each tile depends on its own (`planned`).
PLAN = ancient("plan.json") if os.environ.get("RSMVS_PLANNED") else "plan.json"
CLASSIFIED = ["semantic.tif", "semantic.tif.aux.xml", "class_votes.tif", "vote_margin.tif"] if CONFIG.heights.classes else []
MOSAICS = [
    "dsm.tif",
    "n_views.tif",
    "confidence.tif",
    "ortho.tif",
    "uncertainty.tif",
    "status.tif",
    "status.tif.aux.xml",
    "points.laz",
    "ledger.json",
    *CLASSIFIED,
]
DERIVED = ["dtm.tif", "ndsm.tif", "dsm_filled.tif", "filling.tif", "filling.tif.aux.xml"]
PRODUCTS = MOSAICS + DERIVED + ["points.copc.laz"]
REPORTS = ["preview.png", "item.json", "manifest.json", "report.html"]
EVALUATED = ["metrics.json"] if CONFIG.reference.dsm else []
# Files that the manifest tells of beside the images.
KNOWN = [
    *(as_dict(CONFIG.reference)[key] for key in ("dsm", "classes", "dtm", "dem")),
    CONFIG.adjust.gcps,
    CONFIG.area.aoi_file,
    CONFIG.products.geoid,
]


wildcard_constraints:
    tile=r"x-?\d+_y-?\d+",
    view=r"[^/]+",


def area(*keys):
    """The named options of the area, so that a rule depends on those alone."""
    return {key: value for key, value in as_dict(CONFIG.area).items() if key in keys}


def planned(wildcards):
    """Checksum of a tile's plan; '' before there is one."""
    plan = Path(f"tiles/{wildcards.tile}/plan.json")
    return sha256(plan.read_bytes()).hexdigest()[:16] if plan.is_file() else ""


def local_files(*paths):
    """Those of the paths that Snakemake can watch: a missing or a remote file is left to the stage that reads it."""
    return [path for path in paths if path and Path(path).is_file()]


def image_files():
    """Images, and the files that the configuration names beside them."""
    named = ((i.path, i.camera, i.colour, i.colour_camera, *i.masks) for i in CONFIG.images)
    return local_files(*(path for paths in named for path in paths))


@cache
def size():
    """What the needs of the jobs follow from; the images' GSD as soon as they are indexed."""
    index = Path("views.json")
    try:
        views = json.loads(index.read_text())["views"] if index.is_file() else []
        return size_of(CONFIG, len(TILES), min((view["gsd"] for view in views), default=None))
    except (ValueError, KeyError):  # damaged: its readers say so
        return size_of(CONFIG, len(TILES))


def needs(stage):
    """Memory (MB), time (minutes) and GPUs of a job, and which trial it is: more of all after a trial that failed."""
    return {
        "mem_mb": lambda wildcards, attempt: memory_mb(stage, size(), attempt),
        "runtime": lambda wildcards, attempt: minutes(stage, size(), attempt),
        "gpu": gpus(stage, CONFIG.heights.model),
        "trial": lambda wildcards, attempt: attempt,
    }


def stamps(paths):
    """Size and modification time of files: one that is exchanged is noticed whatever its date."""
    return [[path, Path(path).stat().st_size, Path(path).stat().st_mtime_ns] for path in paths]
