"""A disk that is full or cannot be written, where libraries do not say so.

GDAL meets it when it closes a file, and rasterio does not ask; lazrs tells that a write failed, but not why.
Nothing half-written may get its final name, and the error names the file and the cause.
"""

from __future__ import annotations

import errno
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.shutil import copy as copy_raster


def shorter(path: str | Path) -> OSError:
    """The error of a file that holds less than was written to it."""
    return OSError(errno.ENOSPC, "the disk took less than was written", str(path))


class _Raw(io.FileIO):
    """A file that remembers why it could not be written."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def failing(path: str | Path) -> Iterator[None]:
    """What GDAL says when it cannot write, as an OSError."""
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise shorter(path) from error


@contextmanager
def telling(path: Path) -> Iterator[Any]:
    """A new file to write to; whatever a library makes of a write that fails, the OSError comes out."""
    raw = _Raw(path, "w+")
    try:
        with io.BufferedRandom(raw) as file:
            yield file
    except Exception:
        if raw.failure is not None:
            raise raw.failure from None
        raise


def check_blocks(dataset: Any, path: str | Path) -> None:
    """OSError when a block of an open TIFF, or of its overviews, ends past the end of its file."""
    size = Path(dataset.name).stat().st_size
    for band, (rows, cols) in zip(dataset.indexes, dataset.block_shapes, strict=True):
        for level, step in [(None, 1), *enumerate(dataset.overviews(band))]:
            for row in range(math.ceil(dataset.height / (rows * step))):
                for col in range(math.ceil(dataset.width / (cols * step))):
                    where = [dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band, ovr=level)
                             for what in ("OFFSET", "SIZE")]  # fmt: skip
                    if sum(int(number or 0) for number in where) > size:  # none of a block that holds nothing
                        raise shorter(path)


def pack(source: Path, target: Path, path: str | Path, **options: Any) -> None:
    """A TIFF copied by GDAL, options as it takes them; OSError, which names `path`, when either is not whole on the disk."""
    with failing(path):
        with rasterio.open(source) as parts:
            check_blocks(parts, path)
            copy_raster(parts, target, **options)
        with rasterio.open(target) as made:
            check_blocks(made, path)
