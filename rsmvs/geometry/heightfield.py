"""A surface as a height field, and where lines of sight meet it. Positions in cells of the field's nodes.

Nodes are cell centres of a grid; between them the surface is bilinear. It has no overhangs.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numba import njit

from rsmvs.geometry.grid import Grid
from rsmvs.geometry.warp import Target
from rsmvs.types import F32, F64, Sight

BLOCK = 8  # cells: the side of the blocks whose highest point lets a ray pass at once
LATTICE_PX = 32  # between two exact lines of sight: between them they are interpolated, to far below 0.001 px
_WALL = 1.5  # m within a cell above which a face is a wall
_TOLERANCE = 0.002  # m of height at the hit


def block_maxima(surface: F32) -> tuple[F32, F32]:
    """Highest node of each block of BLOCK x BLOCK cells, its far border included; and of BLOCK^2 x BLOCK^2 cells."""
    fine = _maxima(surface)
    ny, nx = (-(-n // BLOCK) for n in fine.shape)
    padded = np.pad(fine, ((0, ny * BLOCK - fine.shape[0]), (0, nx * BLOCK - fine.shape[1])), mode="edge")
    return fine, np.ascontiguousarray(padded.reshape(ny, BLOCK, nx, BLOCK).max(axis=(1, 3)))


def _maxima(surface: F32) -> F32:
    h, w = surface.shape
    ny, nx = -(-h // BLOCK), -(-w // BLOCK)
    padded = np.pad(surface, ((0, ny * BLOCK + 1 - h), (0, nx * BLOCK + 1 - w)), mode="edge")
    grown = cv2.dilate(padded, np.ones((2, 2), np.uint8), anchor=(0, 0))[:-1, :-1]
    return np.ascontiguousarray(grown.reshape(ny, BLOCK, nx, BLOCK).max(axis=(1, 3)))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def bilinear(field: F32, x: float, y: float) -> float:
    """Value at (x, y); clamped to the border."""
    h, w = field.shape
    x, y = min(max(x, 0.0), w - 1.001), min(max(y, 0.0), h - 1.001)
    j, i = int(x), int(y)
    a, b = x - j, y - i
    return (1 - b) * ((1 - a) * field[i, j] + a * field[i, j + 1]) + b * ((1 - a) * field[i + 1, j] + a * field[i + 1, j + 1])


@njit(cache=True, nogil=True, error_model="numpy")
def first_hit(
    surface: F32, maxima: F32, coarse: F32, x0: float, y0: float, z0: float, x1: float, y1: float, z1: float, start: float
) -> float:
    """Parameter in [start, 1] where the segment from (x0, y0, z0) down to (x1, y1, z1) first meets the surface.

    maxima, coarse: highest points of blocks of BLOCK and of BLOCK^2 cells. A ray above a block's highest point passes it
    at once; elsewhere it walks in half cells. Nothing is looked for before `start`; where that is below the surface
    already, the search begins at 0.
    """
    dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
    step = 0.5 / max(abs(dx), abs(dy), 0.5)
    t = start
    if t > 0.0 and z0 + t * dz <= bilinear(surface, x0 + t * dx, y0 + t * dy):
        t = 0.0
    above = t
    while t < 1.0:
        leave, high = _block(coarse, BLOCK * BLOCK, x0, y0, dx, dy, t)
        if z0 + leave * dz >= high:
            above, t = leave, leave + 1e-9
            continue
        leave, high = _block(maxima, BLOCK, x0, y0, dx, dy, t)
        enter = (high - z0) / dz
        if enter >= leave:
            above, t = leave, leave + 1e-9
            continue
        t = max(t, enter)
        while True:
            if z0 + t * dz <= bilinear(surface, x0 + t * dx, y0 + t * dy):
                return _refine(surface, x0, y0, z0, dx, dy, dz, above, t)
            above = t
            if t >= leave:
                break
            t = min(t + step, leave)
        t += 1e-9
    return 1.0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _block(maxima: F32, size: int, x0: float, y0: float, dx: float, dy: float, t: float) -> tuple[float, float]:
    """Where a ray leaves the block it is in at `t`, and the block's highest point. Rays outside the field go on to its rim."""
    bj = min(max(int(x0 + t * dx) // size, 0), maxima.shape[1] - 1)
    bi = min(max(int(y0 + t * dy) // size, 0), maxima.shape[0] - 1)
    leave = 1.0
    if dx != 0.0:
        leave = min(leave, ((bj + (1 if dx > 0 else 0)) * size - x0) / dx)
    if dy != 0.0:
        leave = min(leave, ((bi + (1 if dy > 0 else 0)) * size - y0) / dy)
    if leave <= t:
        leave = min(t + 4.0 / max(abs(dx), abs(dy), 4.0), 1.0)
    return leave, maxima[bi, bj]


@njit(cache=True, nogil=True, error_model="numpy")
def _refine(
    surface: F32, x0: float, y0: float, z0: float, dx: float, dy: float, dz: float, above: float, below: float
) -> float:
    """Root between a point above the surface and one below it: false position, damped as in the Illinois method."""
    f = z0 + above * dz - bilinear(surface, x0 + above * dx, y0 + above * dy)
    g = z0 + below * dz - bilinear(surface, x0 + below * dx, y0 + below * dy)
    t = below
    for _ in range(20):
        if f - g < 1e-12:
            break
        t = above + (below - above) * f / (f - g)
        e = z0 + t * dz - bilinear(surface, x0 + t * dx, y0 + t * dy)
        if abs(e) < _TOLERANCE:
            break
        if e <= 0:
            below, g, f = t, e, 0.5 * f
        else:
            above, f, g = t, e, 0.5 * g
    return t


@njit(cache=True, nogil=True, error_model="numpy")
def ray_ends(ends: F64, step: float, col: float, row: float) -> tuple[float, float, float, float]:
    """(x, y) at the highest and at the lowest height of the ray of a pixel, from a lattice (ny, nx, 4) every `step` px."""
    x, y = col / step, row / step
    j, i = min(max(int(x), 0), ends.shape[1] - 2), min(max(int(y), 0), ends.shape[0] - 2)
    a, b = x - j, y - i
    w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    # scalars: an expression of array slices would allocate at each ray
    x0 = w00 * ends[i, j, 0] + w01 * ends[i, j + 1, 0] + w10 * ends[i + 1, j, 0] + w11 * ends[i + 1, j + 1, 0]
    y0 = w00 * ends[i, j, 1] + w01 * ends[i, j + 1, 1] + w10 * ends[i + 1, j, 1] + w11 * ends[i + 1, j + 1, 1]
    x1 = w00 * ends[i, j, 2] + w01 * ends[i, j + 1, 2] + w10 * ends[i + 1, j, 2] + w11 * ends[i + 1, j + 1, 2]
    y1 = w00 * ends[i, j, 3] + w01 * ends[i, j + 1, 3] + w10 * ends[i + 1, j, 3] + w11 * ends[i + 1, j + 1, 3]
    return x0, y0, x1, y1


@njit(cache=True, nogil=True, error_model="numpy")
def cast_heights(
    layers: Any, maxima: tuple[F32, F32], ends: F64, step: float, heights: tuple[float, float], out: F32, classes: Any
) -> None:
    """Height (m; NaN outside the field) and class of the surface at each pixel centre; classes -1 outside."""
    surface, labels = layers
    high, low = heights
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            x0, y0, x1, y1 = ray_ends(ends, step, c, r)
            t = first_hit(surface, *maxima, x0, y0, high, x1, y1, low, 0.0)
            x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
            out[r, c], classes[r, c] = np.nan, -1
            if 0 <= x <= surface.shape[1] - 1 and 0 <= y <= surface.shape[0] - 1:
                out[r, c] = high + t * (low - high)
                i, j, _ = owner(surface, x, y)
                classes[r, c] = labels[i, j]


@njit(cache=True, nogil=True, error_model="numpy")
def owner(surface: F32, x: float, y: float) -> tuple[int, int, bool]:
    """The node that a point belongs to: the nearest one, or on a wall the one on top; and whether it is a wall."""
    j, i = min(int(x), surface.shape[1] - 2), min(int(y), surface.shape[0] - 2)
    bi, bj, low, high = i, j, surface[i, j], surface[i, j]
    for k in range(1, 4):
        z = surface[i + k // 2, j + k % 2]
        if z > high:
            bi, bj, high = i + k // 2, j + k % 2, z
        low = min(low, z)
    if high - low > _WALL:
        return bi, bj, True
    return min(int(y + 0.5), surface.shape[0] - 1), min(int(x + 0.5), surface.shape[1] - 1), False


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def gradient(surface: F32, x: float, y: float, cell: float) -> tuple[float, float]:
    """(dz/dx, dz/dy) of the bilinear surface, metres a metre."""
    j, i = int(x), int(y)
    a, b = x - j, y - i
    gx = (1 - b) * (surface[i, j + 1] - surface[i, j]) + b * (surface[i + 1, j + 1] - surface[i + 1, j])
    gy = (1 - a) * (surface[i + 1, j] - surface[i, j]) + a * (surface[i + 1, j + 1] - surface[i, j + 1])
    return gx / cell, gy / cell


def ray_lattice(exact: Sight, to_map: Target, grid: Grid, size: tuple[int, int], heights: tuple[float, float]) -> F64:
    """(ny, nx, 4): (x, y) in cells of `grid` at the two heights (m), for pixels every LATTICE_PX from (0, 0).

    size: (width, height) of the image; to_map: (lon, lat, h) to the grid's CRS. A line of sight is straight in map
    coordinates and heights to well below a millimetre over a scene's heights.
    """
    nodes = [np.arange(-(-n // LATTICE_PX) + 1) * float(LATTICE_PX) for n in size]
    col, row = np.meshgrid(*nodes)
    out: list[Any] = []
    for h in heights:
        lon, lat = exact.localise(col, row, h)
        x, y = to_map(lon, lat, np.full_like(lon, h))
        out += [(x - grid.x0) / grid.step - 0.5, (grid.y0 - y) / grid.step - 0.5]
    return np.ascontiguousarray(np.stack(out, axis=-1))
