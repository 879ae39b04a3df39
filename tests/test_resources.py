"""What jobs ask for: enough for what was measured, more with every trial."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from rsmvs.config import config_from_dict
from rsmvs.resources import TRIALS, Size, gpus, memory_mb, minutes, need_of, size_of

ROOT = Path(__file__).resolve().parents[1]


def size(views: int = 6, tile: float = 500.0, model: str = "sgm", gsd: float | None = None, **more: Any) -> Size:
    images = [{"path": f"{i}.tif"} for i in range(views)]
    values = {"images": images, "area": {"crs": "EPSG:32637", "aoi": [0, 0, 5000, 5000], "tile_size": tile}, **more}
    return size_of(config_from_dict({**values, "heights": {"model": model}}, "c.yaml"), 100, gsd)


# Stage, views, tile size (m), model; largest memory (MB) and CPU seconds of a job that was measured (docs/cluster.md).
MEASURED = [
    ("predict_heights", 3, 250.0, "sgm", 368, 8.1), ("predict_heights", 6, 250.0, "sgm", 426, 26.2),
    ("predict_heights", 3, 500.0, "sgm", 449, 15.1), ("predict_heights", 8, 1000.0, "sgm", 510, 97.2),
    ("filter_heights", 6, 250.0, "sgm", 342, 2.9), ("fuse_tile", 6, 250.0, "sgm", 411, 2.3),
    ("fuse_tile", 3, 500.0, "sgm", 500, 6.3), ("fuse_tile", 8, 1000.0, "sgm", 861, 8.3),
    ("filter_heights", 3, 250.0, "mvsr3d", 484, 4.5), ("match_views", 8, 1000.0, "sgm", 351, 9.2),
]  # fmt: skip


@pytest.mark.parametrize(("stage", "views", "tile", "model", "memory", "time"), MEASURED)
def test_what_was_measured_is_asked_for(stage: str, views: int, tile: float, model: str, memory: float, time: float):
    asked = size(views, tile, model)
    assert memory < memory_mb(stage, asked, 1) and time < 60 * minutes(stage, asked, 1)


def test_needs_grow_with_what_makes_them():
    for other in (size(tile=1000.0), size(views=8), size(gsd=0.3)):
        for stage in ("predict_heights", "filter_heights", "fuse_tile"):
            mine, more = need_of(stage, size()), need_of(stage, other)
            assert more.memory >= mine.memory and more.time > mine.time
    assert need_of("fuse_tile", size(views=8)).memory > need_of("fuse_tile", size()).memory
    assert need_of("predict_heights", size(model="casmvs")).memory > need_of("predict_heights", size()).memory
    trials = [(memory_mb("fuse_tile", size(), n), minutes("fuse_tile", size(), n)) for n in range(1, TRIALS)]
    assert all(a < b and s < t for (a, s), (b, t) in pairwise(trials))
    assert gpus("predict_heights", "sgm") == 0 and gpus("predict_heights", "ucs") == 1


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_profiles_try_as_often_as_the_jobs_count(profile: str):
    assert yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())["retries"] == TRIALS - 1


def test_the_model_is_light_to_import():
    code = "import sys, rsmvs.resources; print(*sorted({'numpy', 'torch', 'rasterio'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
