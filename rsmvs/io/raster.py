"""Raster files: windowed reads of images with their mask, and writes of products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from rasterio.enums import MaskFlags, Resampling
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RioWindow

from rsmvs.errors import ImageError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import horizontal
from rsmvs.io.class_names import write_class_names
from rsmvs.io.disk import failing, pack
from rsmvs.io.layers import NODATA as NODATA
from rsmvs.io.layers import Layer as Layer
from rsmvs.io.manifests import atomic, write_bytes
from rsmvs.io.views import check_unchanged
from rsmvs.types import F32, F64, View, Window

_ENV = {"GDAL_CACHEMAX": 256, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "VSI_CACHE": True}


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """A rasterio dataset with a bounded GDAL cache; what GDAL says of a bad file becomes an ImageError."""
    import warnings

    with rasterio.Env(**_ENV), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # raw satellite images have none: they have cameras
        warnings.simplefilter("ignore", NodataShadowWarning)  # some vendors call a fourth, infrared band alpha
        try:
            with rasterio.open(path) as dataset:
                yield dataset
        except (RasterioIOError, RasterioError) as error:
            if "No such file" in str(error):
                raise ImageError(path, "does not exist", "check the path in the configuration") from None
            raise ImageError(path, f"cannot be read ({error})", "check that the file is complete and an image") from None


def read_image(view: View, window: Window) -> F32:
    """The matching image of a window, (h, w) float32; NaN outside the image, without data, and under the view's masks.

    Bands are mixed by the view's weights.
    """
    weights = np.array([w for w in view.weights if w], np.float32)
    bands = read_pixels(view, window, [i + 1 for i, w in enumerate(view.weights) if w])
    return np.tensordot(weights / weights.sum(), bands, axes=1)


def read_pixels(view: View, window: Window, bands: Sequence[int]) -> F32:
    """Bands (numbers from 1) of a window, (b, h, w) float32; NaN as in `read_image`.

    ImageError for a file that has changed since it was indexed.
    """
    check_unchanged(view)
    out = np.full((len(bands), *window.shape), np.nan, np.float32)
    part = window.clipped(view.width, view.height)
    if part.width == 0 or part.height == 0:
        return out
    area = RioWindow(part.col, part.row, part.width, part.height)  # type: ignore[call-arg]
    with opened(view.path) as src:
        data = src.read(list(bands), window=area)
        valid = src.dataset_mask(window=area) > 0
        if view.nodata is not None and not math.isnan(view.nodata):
            valid &= ~(data == view.nodata).all(axis=0)
    valid &= _unmasked(view, part)
    r, c = part.row - window.row, part.col - window.col
    out[:, r : r + part.height, c : c + part.width] = np.where(valid, data, np.float32(np.nan))
    return out


def _unmasked(view: View, part: Window) -> Any:
    """(h, w) True where no mask of the view forbids its use. A mask may be coarser than the image, over the same extent."""
    free = np.ones(part.shape, bool)
    for path in view.masks:
        with opened(path) as src:
            x, y = src.width / view.width, src.height / view.height
            if abs(x - y) > 0.02 * max(x, y):
                cause = f"{src.width} x {src.height} pixels do not cover an image of {view.width} x {view.height}"
                raise ImageError(path, cause, "give a mask of the image's extent")
            cols = ((part.col + np.arange(part.width) + 0.5) * x).astype(int)
            rows = ((part.row + np.arange(part.height) + 0.5) * y).astype(int)
            area = RioWindow(cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1)  # type: ignore[call-arg]
            free &= src.read(1, window=area)[np.ix_(rows - rows[0], cols - cols[0])] == 0
    return free


def usable_at(view: View, col: F64, row: F64) -> Any:
    """(n,) True where the pixel that holds a point (n,) is inside the image, has data and is not masked."""
    inside = (col >= -0.5) & (col < view.width - 0.5) & (row >= -0.5) & (row < view.height - 0.5)
    if not inside.any():
        return inside
    if view.nodata is None and not view.masks and _holds_data_everywhere(view.path, view.fingerprint):
        return inside
    c, r = (np.floor(v[inside] + 0.5).astype(int) for v in (col, row))
    window = Window(int(c.min()), int(r.min()), int(np.ptp(c)) + 1, int(np.ptp(r)) + 1)
    out = inside.copy()
    out[inside] = np.isfinite(read_image(view, window)[r - window.row, c - window.col])
    return out


@lru_cache(maxsize=1024)
def _holds_data_everywhere(path: str, _fingerprint: str) -> bool:
    with opened(path) as src:
        return bool(src.mask_flag_enums[0] == [MaskFlags.all_valid] and not src.dtypes[0].startswith("float"))


def read_band(path: str | Path, band: int = 1) -> tuple[Any, Affine, Any]:
    """(values, transform, CRS) of a whole band; float bands come with NaN where there is no data."""
    with opened(path) as src:
        values = src.read(band)
        if np.issubdtype(values.dtype, np.floating):
            values = np.where(src.read_masks(band) > 0, values, np.nan).astype(values.dtype)
        return values, src.transform, src.crs


def read_bands(path: str | Path) -> tuple[Any, Affine]:
    """(values (band, h, w), transform) of a raster; floats come with NaN where there is no data."""
    with opened(path) as src:
        values = src.read()
        if np.issubdtype(values.dtype, np.floating):
            values = np.where(src.read_masks() > 0, values, np.nan).astype(values.dtype)
        return values, src.transform


def read_small(path: str | Path, side: int, codes: bool = False, band: int = 1) -> tuple[Any, float]:
    """(values (h, w), cell size) of a band with at most `side` cells: averages as floats, NaN without data.

    codes: values as they are, of the nearest cells.
    """
    with opened(path) as src:
        factor = max(1.0, max(src.width, src.height) / side)
        shape = (max(1, round(src.height / factor)), max(1, round(src.width / factor)))
        if codes:
            return src.read(band, out_shape=shape, resampling=Resampling.nearest), abs(src.transform.a) * src.width / shape[1]
        values = src.read(band, out_shape=shape, masked=True, resampling=Resampling.average)
        return np.ma.filled(values.astype(np.float32), np.nan), abs(src.transform.a) * src.width / shape[1]


def read_onto(path: str | Path, like: str | Path, shape: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0)) -> Any:
    """A raster's first band (h, w) on the area of another one with `shape` cells, moved against it by -shift (m).

    Floats, averaged, NaN without data; heights are not converted between vertical datums.
    """
    with opened(like) as target, opened(path) as src:
        scale = Affine.scale(target.width / shape[1], target.height / shape[0])
        transform = Affine.translation(*shift) @ target.transform @ scale
        own = {d: horizontal(pyproj.CRS.from_wkt(d.crs.to_wkt())).to_wkt() for d in (target, src)}
        grid = {"crs": own[target], "transform": transform, "width": shape[1], "height": shape[0]}
        with WarpedVRT(src, src_crs=own[src], nodata=NODATA, resampling=Resampling.average, dtype="float32", **grid) as warped:
            return np.ma.filled(warped.read(1, masked=True), np.nan)


def band_names(dataset: Any) -> tuple[str, ...]:
    """The names of an opened raster's bands."""
    return tuple(d or f"band {i}" for i, d in enumerate(dataset.descriptions, 1))


def read_colour(path: str | Path, side: int) -> Any:
    """An image with at most `side` pixels: (h, w) of one band, (h, w, 3) of the first three where there are so many."""
    with opened(path) as src:
        count = src.count
    if count < 3:
        return read_small(path, side)[0]
    return np.stack([read_small(path, side, band=b)[0] for b in (1, 2, 3)], axis=-1)


def write_picture(path: str | Path, rgb: Any) -> None:
    """A picture (h, w, 3) uint8 as PNG or JPEG, by the name's suffix."""
    write_bytes(path, encoded_picture(rgb, Path(path).suffix))


def encoded_picture(rgb: Any, suffix: str = ".png", quality: int = 85) -> bytes:
    """Bytes of a picture (h, w, 3) uint8; quality counts for .jpg."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 6]
    return bytes(cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]), options)[1])


def transform_of(grid: Grid) -> Affine:
    return Affine(grid.step, 0.0, grid.x0, 0.0, -grid.step, grid.y0)


def grid_of(transform: Affine, shape: tuple[int, int], where: object) -> Grid:
    """The grid of a north-up raster with square cells."""
    if transform.b or transform.d or not math.isclose(transform.a, -transform.e, rel_tol=1e-6):
        raise ImageError(where, "is not a north-up raster with square cells", "resample it (gdalwarp)")
    return Grid(transform.c, transform.f, transform.a, shape[1], shape[0])


def write_raster(
    path: str | Path,
    bands: Sequence[Any],
    *,
    grid: Grid | None = None,
    crs: Any = None,
    nodata: float | None = None,
    names: Sequence[str] = (),
    units: Sequence[str] = (),
    tags: dict[str, str] | None = None,
    rpcs: Any = None,
) -> None:
    """Write bands (h, w) of one type as a tiled GeoTIFF, lightly compressed. NaN becomes `nodata`."""
    data = np.stack([np.asarray(b) for b in bands])
    floats = np.issubdtype(data.dtype, np.floating)
    if floats and nodata is not None:
        data = np.where(np.isnan(data), data.dtype.type(nodata), data)
    options: dict[str, Any] = {"compress": "DEFLATE", "predictor": 3 if floats else 2}
    profile = {"width": data.shape[2], "height": data.shape[1], "count": len(data), "dtype": data.dtype}
    profile |= {"nodata": nodata, "crs": crs}
    if grid is not None:
        profile["transform"] = transform_of(grid)
    options |= {"zlevel": 1, "tiled": True, "blockxsize": 256, "blockysize": 256}  # read once or twice: time counts
    with rasterio.Env(**_ENV), rasterio.MemoryFile() as memory:  # what GDAL cannot write to a disk, it may keep to itself
        with memory.open(driver="GTiff", **profile, **options) as dst:
            _fill(dst, data, names, units, tags, rpcs)
        write_bytes(path, memory.getbuffer())


class Canvas:
    """A raster being put together from parts on its own lattice of cells."""

    def __init__(self, dataset: Any, grid: Grid) -> None:
        self.dataset, self.grid = dataset, grid

    def write(self, values: Any, grid: Grid) -> Any:
        """Put a part (h, w) or (band, h, w) on its place, NaN as no data; what of it lies inside the canvas."""
        col, row = self.grid.offset_of(grid)
        part = Window(col, row, grid.width, grid.height).clipped(self.grid.width, self.grid.height)
        if part.width == 0 or part.height == 0:
            return values[..., :0, :0]
        inner = values[..., part.row - row : part.row - row + part.height, part.col - col : part.col - col + part.width]
        data = inner
        if self.dataset.nodata is not None and np.issubdtype(inner.dtype, np.floating):
            data = np.where(np.isnan(inner), self.dataset.nodata, inner)
        area = RioWindow(part.col, part.row, part.width, part.height)  # type: ignore[call-arg]
        bands = np.broadcast_to(data, (self.dataset.count, part.height, part.width))
        with failing(self.dataset.name):
            self.dataset.write(bands.astype(self.dataset.dtypes[0]), window=area)
        return inner


@contextmanager
def cog_canvas(
    path: str | Path, grid: Grid, layer: Layer, *, crs: Any, tags: dict[str, str], bands: Sequence[str] = ()
) -> Iterator[Canvas]:
    """A canvas that becomes a COG with overviews under `path` when the block ends well; bands: names, the layer's else.

    Parts go to a plain tiled file beside it (sparse: what no part covers takes no space), which GDAL then copies in
    blocks: memory depends neither on the number of parts nor on the size of the scene.
    """
    bands = bands or (layer.band,)
    profile = {"width": grid.width, "height": grid.height, "count": len(bands), "dtype": layer.dtype, "nodata": layer.nodata}
    profile |= {"crs": crs, "photometric": "RGB" if len(bands) == 3 else "MINISBLACK"}
    plain = {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True, "bigtiff": "IF_SAFER"}
    predictor = 3 if np.issubdtype(np.dtype(layer.dtype), np.floating) else 2
    with atomic(path) as part, rasterio.Env(**_ENV):
        parts = part.with_name(part.stem + ".parts.tif")
        try:
            with rasterio.open(parts, "w", driver="GTiff", transform=transform_of(grid), **profile, **plain) as dst:
                for i, name in enumerate(bands, 1):
                    dst.set_band_description(i, name)
                    dst.set_band_unit(i, layer.unit)
                dst.update_tags(AREA_OR_POINT="Area", **tags)
                if layer.codes:
                    dst.write_colormap(1, {c.value: (*c.colour, 255) for c in layer.codes})
                    dst.update_tags(1, **{f"CODE_{c.value}": c.name for c in layer.codes})
                yield Canvas(dst, grid)
            pack(parts, part, path, driver="COG", blocksize=512, compress="DEFLATE", predictor=predictor,
                 overview_resampling=layer.resampling, bigtiff="IF_SAFER")  # fmt: skip
        finally:
            parts.unlink(missing_ok=True)
    if layer.codes:
        write_class_names(path, layer)


def _fill(dst: Any, data: Any, names: Sequence[str], units: Sequence[str], tags: Any, rpcs: Any) -> None:
    dst.write(data)
    for i, name in enumerate(names, 1):
        dst.set_band_description(i, name)
    for i, unit in enumerate(units, 1):
        dst.set_band_unit(i, unit)
    dst.update_tags(AREA_OR_POINT="Area", **(tags or {}))
    if rpcs is not None:
        dst.rpcs = rpcs
