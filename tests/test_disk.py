"""A disk that takes no more: nothing half-written under a final name, and one line that names the file.

The disk is simulated by the largest size of a file that a process may write, which stops all writers alike, in whatever
library, at any of their bytes.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tile_scene import CRS, centres, points_at

from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import product_crs
from rsmvs.io.layers import DSM
from rsmvs.io.manifests import write_json
from rsmvs.io.pointcloud import write_points
from rsmvs.io.raster import cog_canvas, write_picture, write_raster

ROOT = Path(__file__).resolve().parents[1]
GRID = Grid.covering((315000.0, 4162000.0, 315300.0, 4162300.0), 0.5)
NOISE = np.random.default_rng(0).random(GRID.shape, dtype=np.float32)


@contextmanager
def files_of(size: int) -> Iterator[None]:
    """No file grows past so many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def raster(path: Path) -> None:
    write_raster(path, [NOISE], grid=GRID, crs=CRS, nodata=-9999.0)


def small_raster(path: Path) -> None:
    """It fits into GDAL's cache: the disk is met when the file is closed."""
    write_raster(path, [NOISE[:100, :100]])


def product(path: Path) -> None:
    with cog_canvas(path, GRID, DSM, crs=CRS, tags={}) as canvas:
        canvas.write(NOISE, GRID)


def points(path: Path) -> None:
    x, y = centres(GRID)
    write_points(path, points_at(x[::4, ::4].ravel(), y[::4, ::4].ravel()), corner=GRID.bounds[:2], crs=product_crs(CRS))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "dsm.tif": raster,
    "sigma.tif": small_raster,
    "product.tif": product,
    "points.laz": points,
    "preview.png": lambda path: write_picture(path, (NOISE[..., None] * np.full(3, 255.0)).astype(np.uint8)),
    "plan.json": lambda path: write_json(path, NOISE[:50].tolist()),
}


@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_an_error_that_names_the_file(name: str, share: float, tmp_path: Path):
    path = tmp_path / name
    WRITERS[name](path)
    size = path.stat().st_size
    path.write_text("what was there")
    with files_of(int(share * size)), pytest.raises(OSError) as refused:
        WRITERS[name](path)
    assert refused.value.filename == str(path) and refused.value.errno
    assert path.read_text() == "what was there" and list(tmp_path.iterdir()) == [path]


def test_a_job_says_so_in_one_line(tmp_path: Path):
    script = f"""
import sys
from types import SimpleNamespace
sys.path[:0] = [{str(ROOT / "workflow_scripts")!r}, {str(ROOT / "tests")!r}]
from _job import job
from test_disk import Path, files_of, raster
snakemake = SimpleNamespace(rule="fuse_tile", threads=1, log="job.log", input=[], resources={{}}, wildcards=SimpleNamespace())
with job(snakemake), files_of(20_000):
    raster(Path("dsm.tif"))
"""
    said = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert said.stderr == "error: dsm.tif: cannot be written (File too large); make room for it, or set 'output'\n"
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == ["job.log"]
