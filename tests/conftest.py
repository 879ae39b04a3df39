"""Fixtures shared by the suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rsmvs.config import as_dict, load_config

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
