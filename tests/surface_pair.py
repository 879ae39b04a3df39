"""A surface and its truth, the same on every machine, with which other programs measured what tests/data/peers.json says."""

from __future__ import annotations

import numpy as np

from rsmvs.geometry.grid import Grid

GRID = Grid(315000.0, 4162200.0, 0.5, 500, 400)
CRS = "EPSG:32637"
EAST, NORTH, UP = 0.75, -0.5, 0.8  # m that the surface is off


def truth() -> np.ndarray:
    """Hills of all slopes up to 63 degrees, facing all ways; (h, w) m, float32."""
    return _hills(0.0, 0.0).astype(np.float32)


def surface(east: float = EAST, north: float = NORTH, up: float = UP) -> np.ndarray:
    """The hills moved by (east, north, up) m, with correlated and skewed errors and a hole; (h, w) m, float32, NaN without."""
    x, y = _places(0.0, 0.0)
    rough = 0.25 * np.sin(2.1 * x + 3.3 * np.sin(0.9 * y)) + 0.2 * np.sin(2.9 * y - 2.0 * np.cos(1.3 * x))
    blunders = 4.0 * np.maximum(np.sin(0.31 * x + 1.7) * np.sin(0.37 * y + 0.4), 0.8) - 3.2  # a twentieth, all upwards
    out = _hills(east, north) + up + rough + blunders
    out[120:150, 200:260] = np.nan
    return out.astype(np.float32)


def _places(east: float, north: float) -> tuple[np.ndarray, np.ndarray]:
    x = (np.arange(GRID.width) + 0.5) * GRID.step - east
    y = -(np.arange(GRID.height) + 0.5) * GRID.step - north
    return tuple(np.meshgrid(x, y))  # type: ignore[return-value]


def _hills(east: float, north: float) -> np.ndarray:
    x, y = _places(east, north)
    tall = np.clip(x / 150.0, 0.05, 1.0)  # nearly flat in the west
    return 900 + 0.02 * x + tall * (20 * np.sin(x / 17) * np.cos(y / 13) + 3 * np.sin(y / 7 + x / 29))
