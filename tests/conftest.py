"""Fixtures shared by the suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images with truth; they are not part of the project. RSMVS_DATA names it."""
    folder = Path(os.environ.get("RSMVS_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "autzen_public").is_dir():
        pytest.skip(f"real data not found at {folder} (set RSMVS_DATA)")
    return folder
