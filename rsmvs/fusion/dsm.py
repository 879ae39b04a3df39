"""From height maps in image geometry to one surface on a ground grid.

Each reference's height map is a mesh: its pixels' ground points, joined where the surface is continuous. The mesh is
drawn onto the grid (the upper surface wins), so that the result does not depend on how pixels and cells interleave.
The layers of all references are then fused cell by cell.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rsmvs.geometry.grid import Grid
from rsmvs.geometry.warp import WarpField, field_at
from rsmvs.types import F32, F64


@njit(cache=True, nogil=True)
def _ground(height: F32, coefs: F64, lattice: F64, x0: float, y0: float, step: float, gx: F32, gy: F32) -> None:
    """Cell coordinates (integer = cell centre) of every pixel's ground point."""
    h, w = height.shape
    for r in range(h):
        for c in range(w):
            z = height[r, c]
            if np.isnan(z):
                gx[r, c], gy[r, c] = np.nan, np.nan
            else:
                x, y = field_at(coefs, lattice, c, r, z)
                gx[r, c], gy[r, c] = (x - x0) / step - 0.5, (y0 - y) / step - 0.5


@njit(cache=True, nogil=True)
def _draw(height: F32, value: F32, gx: F32, gy: F32, max_step: float, layer: F32, extra: F32) -> None:
    h, w = height.shape
    gh, gw = layer.shape
    a = np.empty(3, np.int64)
    b = np.empty(3, np.int64)
    for r in range(h - 1):
        for c in range(w - 1):
            for half in range(2):
                a[0], b[0] = r, c + 1
                a[1], b[1] = r + 1, c
                a[2], b[2] = (r, c) if half == 0 else (r + 1, c + 1)
                z0, z1, z2 = height[a[0], b[0]], height[a[1], b[1]], height[a[2], b[2]]
                if not max(z0, max(z1, z2)) - min(z0, min(z1, z2)) <= max_step:
                    continue
                x0, y0 = gx[a[0], b[0]], gy[a[0], b[0]]
                x1, y1 = gx[a[1], b[1]], gy[a[1], b[1]]
                x2, y2 = gx[a[2], b[2]], gy[a[2], b[2]]
                area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
                if abs(area) < 1e-9:
                    continue
                for i in range(max(int(np.ceil(min(y0, min(y1, y2)))), 0), min(int(np.floor(max(y0, max(y1, y2)))) + 1, gh)):
                    for j in range(max(int(np.ceil(min(x0, min(x1, x2)))), 0), min(int(np.floor(max(x0, max(x1, x2)))) + 1, gw)):
                        w1 = ((j - x0) * (y2 - y0) - (x2 - x0) * (i - y0)) / area
                        w2 = ((x1 - x0) * (i - y0) - (j - x0) * (y1 - y0)) / area
                        if w1 < -1e-6 or w2 < -1e-6 or w1 + w2 > 1 + 1e-6:
                            continue
                        z = z0 + w1 * (z1 - z0) + w2 * (z2 - z0)
                        if not layer[i, j] >= z:  # empty (NaN) or lower
                            layer[i, j] = z
                            v0, v1, v2 = value[a[0], b[0]], value[a[1], b[1]], value[a[2], b[2]]
                            extra[i, j] = v0 + w1 * (v1 - v0) + w2 * (v2 - v0)


@njit(cache=True, nogil=True)
def _splat(height: F32, value: F32, gx: F32, gy: F32, layer: F32, extra: F32) -> None:
    """Single points, into cells that no triangle reached."""
    h, w = height.shape
    gh, gw = layer.shape
    drawn = ~np.isnan(layer)
    for r in range(h):
        for c in range(w):
            if np.isnan(height[r, c]):
                continue
            j, i = int(np.floor(gx[r, c] + 0.5)), int(np.floor(gy[r, c] + 0.5))
            if 0 <= i < gh and 0 <= j < gw and not drawn[i, j] and not layer[i, j] >= height[r, c]:
                layer[i, j] = height[r, c]
                extra[i, j] = value[r, c]


def draw_surface(height: F32, value: F32, ground: WarpField, grid: Grid, max_step: float) -> tuple[F32, F32]:
    """Heights (h, w) of a reference window on a ground grid, and a second value carried along.

    ground: field from window pixels and height to (x, y) of the grid's CRS. max_step: largest height step (m) between
    neighbouring pixels that is still one surface. Returns two (grid.height, grid.width) rasters, NaN where empty.
    """
    gx, gy = np.empty(height.shape, np.float32), np.empty(height.shape, np.float32)
    _ground(height, ground.coefs, ground.lattice, grid.x0, grid.y0, grid.step, gx, gy)
    layer, extra = np.full(grid.shape, np.nan, np.float32), np.full(grid.shape, np.nan, np.float32)
    _draw(height, value, gx, gy, max_step, layer, extra)
    _splat(height, value, gx, gy, layer, extra)
    return layer, extra


@njit(cache=True, nogil=True)
def _fuse(layers: F32, weights: F32, bound: float, height: F32, count: np.ndarray, weight: F32, spread: F32) -> None:
    n, h, w = layers.shape
    for r in range(h):
        for c in range(w):
            best_sum, best_mid = np.float32(-1.0), np.float32(np.nan)
            for k in range(n):
                mid = layers[k, r, c]
                if np.isnan(mid):
                    continue
                total = np.float32(0.0)
                for m in range(n):
                    if abs(layers[m, r, c] - mid) <= bound:
                        total += weights[m, r, c]
                if total > best_sum or (total == best_sum and mid > best_mid):
                    best_sum, best_mid = total, mid
            if best_sum < 0:
                continue
            s, sw, ss, members = 0.0, 0.0, 0.0, 0
            for m in range(n):
                d = layers[m, r, c] - best_mid
                if abs(d) <= bound:
                    q = np.float64(weights[m, r, c])
                    s, sw, ss, members = s + q * d, sw + q, ss + q * d * d, members + 1
            mean = s / sw
            height[r, c], count[r, c], weight[r, c] = best_mid + mean, members, sw / members
            spread[r, c] = np.sqrt(max(ss / sw - mean * mean, 0.0))


def fuse_layers(layers: F32, weights: F32, bound: float) -> tuple[F32, np.ndarray, F32, F32]:
    """One surface from the references' layers (v, h, w) with their weights > 0.

    Per cell the heaviest group of heights within `bound` m of one of them wins (ties: the upper), and its weighted mean
    is the height: at an edge roof and ground are never averaged. Returns height (m), members, mean weight, and the
    members' weighted spread (m), each (h, w).
    """
    shape = layers.shape[1:]
    height, weight, spread = (np.full(shape, np.nan, np.float32) for _ in range(3))
    count = np.zeros(shape, np.uint8)
    _fuse(layers, weights, bound, height, count, weight, spread)
    return height, count, weight, spread
