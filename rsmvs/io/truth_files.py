"""Height and depth truth as the published data sets store it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ImageError
from rsmvs.geometry.grid import Grid
from rsmvs.io.manifests import atomic
from rsmvs.io.raster import opened
from rsmvs.types import F32

INVALID = -999.0  # of WHU-TLC and of the 2019 Data Fusion Contest
_WHU_DEPTH_UNITS = 64.0  # WHU-MVS: uint16 = metres of depth times 64
_HEADER = re.compile(rb"\A(P[Ff])\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s")


def read_pfm(path: str | Path) -> F32:
    """Portable float map: (h, w), or (h, w, 3) of a colour one, upper row first. The file has its rows bottom-up; a
    negative scale says little endian."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(path, "does not exist", "check the data set's folder") from None
    head = _HEADER.match(content[:200])
    if head is None:
        raise ImageError(path, "is no PFM (no header 'Pf width height scale')", "get an intact file")
    width, height, bands = int(head[2]), int(head[3]), 3 if head[1] == b"PF" else 1
    body = content[head.end() :]
    if len(body) != width * height * bands * 4:
        raise ImageError(path, f"holds {len(body)} bytes of values, not {width * height * bands * 4}", "get an intact file")
    values = np.frombuffer(body, "<f4" if float(head[4]) < 0 else ">f4").reshape(height, width, bands)[::-1]
    return np.ascontiguousarray(values[..., 0] if bands == 1 else values, np.float32)


def write_pfm(path: str | Path, values: F32) -> None:
    """(h, w), little endian, rows bottom-up."""
    height, width = values.shape
    with atomic(path) as part:
        part.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode() + np.ascontiguousarray(values[::-1], "<f4").tobytes())


def read_truth(path: str | Path) -> F32:
    """Heights or depths (h, w) in metres, NaN where unknown: PFM, GeoTIFF, or WHU-MVS's depth PNG."""
    if Path(path).suffix.lower() == ".pfm":
        values = read_pfm(path)
    else:
        with opened(path) as src:
            values = src.read(1)
            if values.dtype == np.uint16:
                values = np.where(values > 0, values / _WHU_DEPTH_UNITS, np.nan)
            elif src.nodata is not None:
                values = np.where(values == src.nodata, np.nan, values)
    out = np.asarray(values, np.float32)
    return np.where(np.isfinite(out) & (out > INVALID), out, np.float32(np.nan))


def read_dfc_grid(path: str | Path, origin: str) -> Grid:
    """Grid of a DSM of the 2019 contest from its text file: easting, northing, cells a side, cell size.

    origin: what the coordinates name of the lower-left cell, 'corner' or 'centre'; code bases differ.
    """
    try:
        words = Path(path).read_text().split()
        easting, northing, cells, step = (float(w) for w in words[:4])
    except FileNotFoundError:
        raise ImageError(path, "does not exist", "put the DSM's text file beside it") from None
    except ValueError:
        raise ImageError(path, "is not 'easting northing cells cell-size'", "get an intact file") from None
    if not (cells >= 1 and step > 0):
        raise ImageError(path, f"names {cells:g} cells of {step:g} m", "get an intact file")
    shift = step / 2 if origin == "centre" else 0.0
    return Grid(easting - shift, northing - shift + cells * step, step, int(cells), int(cells))


def read_relative_depth(path: str | Path) -> F32:
    """(3, h, w) of a multi-scale relative depth map (8 or 16 bit), scaled to 0 to 1."""
    with opened(path) as src:
        if src.count < 3:
            raise ImageError(path, f"has {src.count} bands, not 3", "make it with 'rsmvs prepare rdm'")
        values = src.read([1, 2, 3])
    return np.asarray(values / float(np.iinfo(values.dtype).max), np.float32)


def read_grey(path: str | Path) -> F32:
    """(h, w): the mean of an image's first three bands."""
    with opened(path) as src:
        bands: Any = src.read(list(range(1, min(src.count, 3) + 1)))
    return np.asarray(bands.mean(axis=0), np.float32)
