"""The bare ground under a surface, by Bulldozer's drape cloth (Lallement et al. 2022, ISPRS Archives XLIII-B2, 409-416).

A cloth is laid from below over the turned surface, coarse to fine, and hangs over what is narrower than buildings are.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import map_coordinates

from rsmvs.geometry.grid import Grid
from rsmvs.io.layers import NODATA
from rsmvs.io.raster import read_band, write_raster
from rsmvs.types import F32

_CELL = 1.0  # m; on finer cells the ground is no better, and the cloth takes four times as long


def ground_under(heights: Any, grid: Grid, max_object_size: float) -> F32:
    """Terrain heights (h, w) in metres under a surface (h, w), NaN without data.

    Everything narrower than `max_object_size` metres that stands out is taken for an object. Holes inside are bridged;
    NaN remains at the rim where nothing is known.
    """
    heights = np.asarray(heights, np.float32)
    known = np.isfinite(heights)
    if known.sum() < 16:
        return np.full(heights.shape, np.nan, np.float32)
    factor = max(1, math.floor(_CELL / grid.step + 1e-9))
    if factor > 1:
        coarse = _coarser(heights, factor)
        cells = Grid(grid.x0, grid.y0, grid.step * factor, coarse.shape[1], coarse.shape[0])
        return _finer(ground_under(coarse, cells, max_object_size), factor, heights.shape)
    # The cloth's coarsest level has cells of half an object; a small area has to hold a few of them.
    extent = min(np.ptp(np.flatnonzero(known.any(axis=axis))) + 1 for axis in (0, 1))
    max_object_size = min(max_object_size, max(extent / 2, 4) * grid.step)
    # Bulldozer speaks on import and at work; it is imported here, where it is needed.
    from bulldozer.pipeline.bulldozer_pipeline import dsm_to_dtm

    with tempfile.TemporaryDirectory(prefix="rsmvs-") as folder:
        surface = Path(folder) / "surface.tif"
        write_raster(surface, [heights], grid=grid, crs="EPSG:32631", nodata=NODATA)  # any metric CRS: it only wants cells
        dsm_to_dtm(
            dsm_path=str(surface),
            output_dir=folder,
            max_object_size=max_object_size,
            activate_ground_anchors=True,
            nb_max_workers=1,
        )
        ground, _, _ = read_band(Path(folder) / "dtm.tif")
    return ground.astype(np.float32)


def _coarser(heights: F32, factor: int) -> F32:
    """Median of each factor x factor cells, of those with a height."""
    rows, cols = (-(-n // factor) for n in heights.shape)
    padded = np.full((rows * factor, cols * factor), np.nan, np.float32)
    padded[: heights.shape[0], : heights.shape[1]] = heights
    cells = padded.reshape(rows, factor, cols, factor).transpose(0, 2, 1, 3).reshape(rows, cols, factor * factor)
    out = np.full((rows, cols), np.nan, np.float32)
    known = np.isfinite(cells).any(axis=2)
    out[known] = np.nanmedian(cells[known], axis=1)
    return out


def _finer(heights: F32, factor: int, shape: tuple[int, int]) -> F32:
    """Bilinear between the centres of coarse cells; the nearest one where a neighbour has no height."""
    place = np.meshgrid(*((np.arange(n) + 0.5) / factor - 0.5 for n in shape), indexing="ij")
    smooth, nearest = (map_coordinates(heights, place, order=order, mode="nearest") for order in (1, 0))
    return np.where(np.isfinite(smooth), smooth, nearest).astype(np.float32)
