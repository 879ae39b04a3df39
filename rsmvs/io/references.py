"""Reference surfaces and class maps of either kind, rasters and LAS points, as rasters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rsmvs.io.lidar import SUFFIXES, highest_points


class Reference(NamedTuple):
    """Files of rasters. classes: of the highest points, None where the points have none or the reference is a raster."""

    surface: Path
    classes: Path | None


def is_cloud(path: str | Path) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


@contextmanager
def raster_reference(path: str | Path, like: str | Path) -> Iterator[Reference]:
    """The file itself, or, of LAS points, the highest in each cell of the raster `like` and their classes, gone afterwards."""
    if not is_cloud(path):
        yield Reference(Path(path), None)
        return
    with TemporaryDirectory(prefix="rsmvs-") as folder:
        surface, classes = Path(folder) / "reference.tif", Path(folder) / "classes.tif"
        classified = highest_points(path, like, surface, classes)
        yield Reference(surface, classes if classified else None)
