"""The bare ground under a surface, by Bulldozer's drape cloth (Lallement et al. 2022, ISPRS Archives XLIII-B2, 409-416).

A cloth is laid from below over the turned surface, coarse to fine, and hangs over what is narrower than buildings are.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.geometry.grid import Grid
from rsmvs.io.layers import NODATA
from rsmvs.io.raster import read_band, write_raster
from rsmvs.types import F32


def ground_under(heights: Any, grid: Grid, max_object_size: float) -> F32:
    """Terrain heights (h, w) in metres under a surface (h, w), NaN without data.

    Everything narrower than `max_object_size` metres that stands out is taken for an object. Holes inside are bridged;
    NaN remains at the rim where nothing is known.
    """
    heights = np.asarray(heights, np.float32)
    known = np.isfinite(heights)
    if known.sum() < 16:
        return np.full(heights.shape, np.nan, np.float32)
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
