"""Fixtures shared by the suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workflow_runs import run, write_config

from rsmvs.config import as_dict, load_config
from rsmvs.io.raster import read_band

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images with truth; they are not part of the project. RSMVS_DATA names it."""
    folder = Path(os.environ.get("RSMVS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "autzen_public").is_dir():
        pytest.skip(f"real data not found at {folder} (set RSMVS_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the smallest simulated scene: 64 m, three views, four tiles, exact truth, config.yaml. Do not change it."""
    from rsmvs.simulate.options import preset
    from rsmvs.stages.simulate import simulate

    folder = tmp_path_factory.mktemp("tiny_scene")
    simulate(preset("tiny"), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_values(tiny_scene: Path) -> dict[str, Any]:
    """Configuration of the tiny scene as plain values with absolute paths: copy it before a change."""
    return as_dict(load_config(tiny_scene / "config.yaml"))


@pytest.fixture(scope="session")
def two_tiles(tiny_values: dict[str, Any]) -> dict[str, Any]:
    """Two tiles, side by side, of the tiny scene, as a user has it who knows cameras and heights: no tie points.

    With tie points every image moves all cameras a little, and all tiles would have to run again for each new one.
    """
    area, heights = tiny_values["area"], read_band(tiny_values["reference"]["dsm"])[0]
    xmin, ymin, xmax, _ = area["aoi"]
    known = {
        "aoi": [xmin, ymin, xmax, ymin + area["tile_size"]],
        "height_range": [float(np.nanmin(heights)) - 5, float(np.nanmax(heights)) + 5],
    }
    return {**tiny_values, "area": {**area, **known}, "adjust": {"mode": "none"}, "match": {"min_matches": 10000}}


@pytest.fixture(scope="session")
def finished(two_tiles: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with my.yaml and its finished run. Tests leave its products as they are."""
    folder = tmp_path_factory.mktemp("finished")
    said = run(write_config(folder, two_tiles))
    assert said.returncode == 0, said.stderr
    return folder
