"""What an image file says about itself: whether it is whole, holds data, when it was taken, which bands to match."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window as RioWindow

from rsmvs.errors import ImageError
from rsmvs.io.sidecars import read_sidecar

_SAMPLED_BLOCKS = 64
# Date and time of the acquisition, best key first: (domain, date key, time key). TIFFTAG_DATETIME is not among them:
# it tells when the file was written.
_DATES = (
    ("IMAGERY", "ACQUISITIONDATETIME", None),
    (None, "IMAGING_DATE", "IMAGING_TIME"),
    (None, "ACQUISITION_DATE", None),
    (None, "NITF_IDATIM", None),
)
_LUMINANCE = {"red": 0.299, "green": 0.587, "blue": 0.114}
_SUNS = (
    (None, "SUN_AZIMUTH", "SUN_ELEVATION"),
    (None, "NITF_USE00A_SUN_AZ", "NITF_USE00A_SUN_EL"),
    (None, "NITF_CSEXRA_SUN_AZIMUTH", "NITF_CSEXRA_SUN_ELEVATION"),
)


def check_whole(path: str, dataset: Any) -> None:
    """Raise ImageError when a local file ends before its last pixel, without reading the pixels of a TIFF."""
    file = Path(path)
    if dataset.driver != "GTiff" or not file.is_file():
        if file.is_file():  # other formats: their last block has to decode
            dataset.read(1, window=_block(dataset, *(n - 1 for n in _blocks(dataset))))
        return
    size, (ny, nx) = file.stat().st_size, _blocks(dataset)
    for band in dataset.indexes if dataset.interleaving and dataset.interleaving.value == "BAND" else (1,):
        for y in range(ny):
            for x in range(nx):
                offset = dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band)
                length = dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)
                if offset and length and int(offset) + int(length) > size:
                    missing = int(offset) + int(length) - size
                    raise ImageError(path, f"is truncated (at least {missing} bytes are missing)", "copy or download it again")


def check_holds_data(path: str, dataset: Any, nodata: float | None) -> None:
    """Raise ImageError when no pixel has data, or all have the same value.

    Blocks spread over the image are looked at first; only when these are empty is all of it read.
    """
    ny, nx = _blocks(dataset)
    blocks = [(y, x) for y in range(ny) for x in range(nx)]
    stride = max(len(blocks) // _SAMPLED_BLOCKS, 1)
    middle = len(blocks) // 2 % stride
    low, high = math.inf, -math.inf
    for y, x in blocks[middle::stride] + blocks:
        window = _block(dataset, y, x)
        values = dataset.read(1, window=window)
        valid = dataset.dataset_mask(window=window) > 0
        if nodata is not None:
            valid &= values != nodata
        if np.issubdtype(values.dtype, np.floating):
            valid &= np.isfinite(values)
        if valid.any():
            low, high = min(low, float(values[valid].min())), max(high, float(values[valid].max()))
        if low < high:
            return
    cause = "holds no data (every pixel is nodata)" if low > high else f"holds a single value ({low:g} in every pixel)"
    raise ImageError(path, cause, "leave it out of 'images', or set its 'nodata'")


def acquisition(path: str, dataset: Any) -> tuple[str | None, tuple[float, float] | None]:
    """(ISO 8601 time, (sun azimuth, sun elevation) in degrees) of the metadata, else of the product file beside the image;
    None for what is not told."""
    date, sun = _tagged_acquisition(dataset)
    sidecar = read_sidecar(path) if date is None or sun is None else None
    if sidecar is not None:
        values = sidecar.values
        date = date or _iso(values.get("day", ""), values.get("time", ""))
        with suppress(KeyError, ValueError):
            sun = sun or (float(values["sun_azimuth"]), float(values["sun_elevation"]))
    return date, sun


def _tagged_acquisition(dataset: Any) -> tuple[str | None, tuple[float, float] | None]:
    date = None
    for domain, day, time in _DATES:
        tags = dataset.tags(ns=domain) if domain else dataset.tags()
        if day in tags:
            date = _iso(tags[day], tags.get(time, "") if time else "")
            break
    for domain, azimuth, elevation in _SUNS:
        tags = dataset.tags(ns=domain) if domain else dataset.tags()
        try:
            return date, (float(tags[azimuth]), float(tags[elevation]))
        except (KeyError, ValueError):
            continue
    return date, None


def _iso(day: str, time: str) -> str | None:
    """ISO 8601 of '2013-02-08' + '08:36:09.1Z', '2013-02-08 08:36:09' or '20130208083609'; None for anything else."""
    found = re.fullmatch(r"(\d{4})-?(\d\d)-?(\d\d)(?:[T ]?(\d\d):?(\d\d):?(\d\d))?.*", f"{day.strip()} {time.strip()}".strip())
    if not found:
        return None
    year, month, date, *clock = found.groups()
    return f"{year}-{month}-{date}" + (f"T{':'.join(clock)}Z" if clock[0] else "")


def band_weights(path: str, dataset: Any, weights: tuple[float, ...] | None = None) -> tuple[tuple[float, ...], str]:
    """Weights of the bands in the matching image, summing to one, and the recipe in words.

    `weights` as configured; without them a single band is itself, RGB its luminance (Rec. 601), anything else the mean
    of the bands that show light. Raises ImageError when they do not fit the image.
    """
    names = [c.name for c in dataset.colorinterp]
    if weights is not None:
        if len(weights) != len(names) or not sum(weights) > 0:
            cause = f"has {len(names)} bands, its weights are {list(weights)}"
            raise ImageError(path, cause, "give one weight a band, not all zero")
        return tuple(w / sum(weights) for w in weights), "weights of the configuration"
    if len(names) == 1:
        return (1.0,), "its only band"
    if all(names.count(c) == 1 for c in _LUMINANCE):
        return tuple(_LUMINANCE.get(c, 0.0) for c in names), "luminance of red, green and blue"
    light = [0.0 if name == "alpha" else 1.0 for name in names]
    if not any(light):
        raise ImageError(path, "has no band that shows light", "set its 'weights'")
    return tuple(w / sum(light) for w in light), f"mean of {int(sum(light))} bands; set 'weights' for another recipe"


def _blocks(dataset: Any) -> tuple[int, int]:
    """Number of blocks (down, across) of the first band."""
    height, width = dataset.block_shapes[0]
    return -(-dataset.height // height), -(-dataset.width // width)


def _block(dataset: Any, y: int, x: int) -> RioWindow:
    height, width = dataset.block_shapes[0]
    w, h = min(width, dataset.width - x * width), min(height, dataset.height - y * height)
    return RioWindow(x * width, y * height, w, h)  # type: ignore[call-arg]
