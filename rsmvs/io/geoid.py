"""Geoid undulations: from ellipsoidal heights to heights above EGM96 or EGM2008, through PROJ and its grid files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from rsmvs.errors import ConfigError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import horizontal
from rsmvs.types import F32, F64

# Names under which PROJ's data packages and older installations have the grids, the better one first.
GRID_FILES = {"egm96": ("us_nga_egm96_15.tif", "egm96_15.gtx"), "egm2008": ("us_nga_egm08_25.tif", "egm08_25.gtx")}
_NODE = 64  # cells between evaluations of the grid: a geoid bends by under a millimetre over that


class Geoid:
    """Undulation N of a geoid over the ellipsoid: orthometric height = ellipsoidal height - N."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ConfigError(self.path, "does not exist", "check products.geoid")
        try:
            self._shift = pyproj.Transformer.from_pipeline(f'+proj=vgridshift +grids="{self.path}" +multiplier=1')
        except pyproj.exceptions.ProjError as error:
            raise ConfigError(self.path, f"is no geoid grid ({error})", "give a GTX or GeoTIFF grid of PROJ") from None

    def undulation(self, lon: Any, lat: Any) -> F64:
        """N in metres at longitudes and latitudes (degrees); ConfigError where the grid has no value."""
        lon, lat = np.broadcast_arrays(np.asarray(lon, np.float64), np.asarray(lat, np.float64))
        _, _, shifted = self._shift.transform(np.radians(lon), np.radians(lat), np.zeros(lon.shape), radians=True)
        if not np.isfinite(shifted).all():
            raise ConfigError(self.path, "does not cover the area of interest", "give a grid that does (products.geoid)")
        return np.asarray(shifted, np.float64)

    def on_grid(self, grid: Grid, crs: Any) -> F32:
        """N at the cell centres (h, w) of a grid in the projected `crs` (pyproj), interpolated between nodes."""
        rows, cols = (_nodes(n) for n in grid.shape)
        x, y = np.meshgrid(grid.x0 + (cols + 0.5) * grid.step, grid.y0 - (rows + 0.5) * grid.step)
        lon_lat = pyproj.Transformer.from_crs(horizontal(crs), "EPSG:4326", always_xy=True)
        nodes = self.undulation(*lon_lat.transform(x, y))
        across = np.array([np.interp(np.arange(grid.width), cols, row) for row in nodes])
        return np.array([np.interp(np.arange(grid.height), rows, col) for col in across.T]).T.astype(np.float32)

    def at_points(self, x: F64, y: F64, crs: Any) -> F64:
        """N (n,) at points (x, y) in the projected `crs` (pyproj)."""
        return self.undulation(*pyproj.Transformer.from_crs(horizontal(crs), "EPSG:4326", always_xy=True).transform(x, y))


def _nodes(cells: int) -> F64:
    return np.unique(np.append(np.arange(0, cells, _NODE), cells - 1)).astype(np.float64)


def find_geoid(datum: str, user_file: str | None = None) -> Geoid:
    """The geoid of a datum ('egm96', 'egm2008'): the user's file, else the grid in one of PROJ's data folders.

    Nothing is downloaded. Errors: ConfigError when no grid is found.
    """
    if user_file is not None:
        return Geoid(user_file)
    folders = [*pyproj.datadir.get_data_dir().split(os.pathsep), pyproj.datadir.get_user_data_dir()]
    for variable in ("PROJ_DATA", "PROJ_LIB"):
        folders += os.environ.get(variable, "").split(os.pathsep)
    for name in GRID_FILES[datum]:
        for folder in (f for f in [*folders, "/usr/share/proj"] if f):
            if (Path(folder) / name).is_file():
                return Geoid(Path(folder) / name)
    first = GRID_FILES[datum][0]
    raise ConfigError("products.vertical", f"'{datum}' needs PROJ's grid {first}, which is not installed",
                      f"run 'projsync --file {first}' once, or name a grid file as products.geoid")  # fmt: skip
