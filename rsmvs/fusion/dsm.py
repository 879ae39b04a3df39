"""From height maps in image geometry to one surface on a ground grid.

Each reference's height map is a mesh: its pixels' ground points, joined where the surface is continuous. The mesh is
drawn onto the grid (the upper surface wins), so that the result does not depend on how pixels and cells interleave.
The layers of all references are then fused cell by cell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
def _draw(height: F32, values: F32, gx: F32, gy: F32, max_step: float, layer: F32, carried: F32) -> None:
    """Two triangles per pixel square, where the surface is continuous; the upper surface wins."""
    h, w = height.shape
    gh, gw = layer.shape
    a, b = np.empty(3, np.int64), np.empty(3, np.int64)
    for r in range(h - 1):
        for c in range(w - 1):
            for half in range(2):
                a[0], b[0] = r, c + 1
                a[1], b[1] = r + 1, c
                a[2], b[2] = r + half, c + half
                z0, z1, z2 = height[a[0], b[0]], height[a[1], b[1]], height[a[2], b[2]]
                if not max(z0, max(z1, z2)) - min(z0, min(z1, z2)) <= max_step:
                    continue
                x0, y0 = gx[a[0], b[0]], gy[a[0], b[0]]
                x1, y1 = gx[a[1], b[1]], gy[a[1], b[1]]
                x2, y2 = gx[a[2], b[2]], gy[a[2], b[2]]
                area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
                if abs(area) < 1e-9:
                    continue
                top, low = int(np.ceil(min(y0, min(y1, y2)))), int(np.floor(max(y0, max(y1, y2)))) + 1
                left, right = int(np.ceil(min(x0, min(x1, x2)))), int(np.floor(max(x0, max(x1, x2)))) + 1
                for i in range(max(top, 0), min(low, gh)):
                    for j in range(max(left, 0), min(right, gw)):
                        w1 = ((j - x0) * (y2 - y0) - (x2 - x0) * (i - y0)) / area
                        w2 = ((x1 - x0) * (i - y0) - (j - x0) * (y1 - y0)) / area
                        if w1 < -1e-6 or w2 < -1e-6 or w1 + w2 > 1 + 1e-6:
                            continue
                        z = z0 + w1 * (z1 - z0) + w2 * (z2 - z0)
                        if not layer[i, j] >= z:  # empty (NaN) or lower
                            layer[i, j] = z
                            for k in range(values.shape[0]):
                                v0, v1, v2 = values[k, a[0], b[0]], values[k, a[1], b[1]], values[k, a[2], b[2]]
                                carried[k, i, j] = v0 + w1 * (v1 - v0) + w2 * (v2 - v0)


@njit(cache=True, nogil=True)
def _splat(height: F32, values: F32, gx: F32, gy: F32, layer: F32, carried: F32) -> None:
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
                carried[:, i, j] = values[:, r, c]


def draw_surface(height: F32, values: F32, ground: WarpField, grid: Grid, max_step: float) -> tuple[F32, F32]:
    """Heights (h, w) of a reference window on a ground grid, with k values (k, h, w) carried along.

    ground: field from window pixels and height to (x, y) of the grid's CRS. max_step: largest height step (m) between
    neighbouring pixels that is still one surface. Returns (grid.height, grid.width) and (k, grid.height, grid.width)
    rasters, NaN where empty.
    """
    gx, gy = np.empty(height.shape, np.float32), np.empty(height.shape, np.float32)
    _ground(height, ground.coefs, ground.lattice, grid.x0, grid.y0, grid.step, gx, gy)
    layer = np.full(grid.shape, np.nan, np.float32)
    carried = np.full((len(values), *grid.shape), np.nan, np.float32)
    _draw(height, values, gx, gy, max_step, layer, carried)
    _splat(height, values, gx, gy, layer, carried)
    return layer, carried


# Share of the variance between the references of a cell that its sigma takes: the rest is that of the place, which
# `rsmvs.fusion.uncertainty` adds. With it the share of errors within one and two sigma was measured (docs/products.md).
_SPREAD = 1 / 12


class Surface(NamedTuple):
    """A fused surface on a ground grid, (h, w) each: height (m), agreeing views, confidence 0 to 1, sigma (m)."""

    height: F32
    n_views: NDArray[np.uint8]
    confidence: F32
    sigma: F32


@njit(cache=True, nogil=True)
def _fuse(
    layers: F32, weights: F32, views: F32, sigmas: F32, bound: float, height: F32, n_views: NDArray[np.uint8],
    confidence: F32, sigma: F32,
) -> None:
    n, h, w = layers.shape
    for r in range(h):
        for c in range(w):
            won, middle, everything = np.float32(-1.0), np.float32(np.nan), 0.0
            for k in range(n):
                z = layers[k, r, c]
                if np.isnan(z):
                    continue
                everything += weights[k, r, c]
                total = np.float32(0.0)
                for m in range(n):
                    if abs(layers[m, r, c] - z) <= bound:
                        total += weights[m, r, c]
                if total > won or (total == won and z > middle):
                    won, middle = total, z
            if won < 0:
                continue
            s, ss, sw, si, most = 0.0, 0.0, 0.0, 0.0, 0.0
            for m in range(n):
                d = np.float64(layers[m, r, c] - middle)
                if abs(d) <= bound:
                    q = np.float64(weights[m, r, c]) + 1e-9
                    s, ss, sw, si = s + q * d, ss + q * d * d, sw + q, si + q * sigmas[m, r, c] ** 2
                    most = max(most, views[m, r, c])
            mean = s / sw
            height[r, c], n_views[r, c] = middle + mean, np.uint8(most + 0.5)
            confidence[r, c] = min(won / (2.0 * np.sqrt(everything + 1e-9)), 1.0)
            sigma[r, c] = np.sqrt(si / sw + _SPREAD * max(ss / sw - mean * mean, 0.0))


def fuse_layers(layers: F32, weights: F32, views: F32, sigmas: F32, bound: float) -> Surface:
    """One surface from the layers of v references, (v, h, w) each: heights (m, NaN where empty), weights (see
    `layer_weight`), the number of agreeing views, sigmas (m).

    Per cell the heaviest group of heights within `bound` m of one of them wins (ties: the upper), and its weighted mean
    is the height: at an edge roof and ground are never averaged. The cell's confidence is sqrt(W * W / A) / 2 with W
    the winners' weight and A that of all: two references that agree with confidence c and no dissent give c.
    """
    shape = layers.shape[1:]
    height, confidence, sigma = (np.full(shape, np.nan, np.float32) for _ in range(3))
    n_views = np.zeros(shape, np.uint8)
    _fuse(layers, weights, views, sigmas, bound, height, n_views, confidence, sigma)
    return Surface(height, n_views, confidence, sigma)


def layer_weight(n_views: F32, confidence: F32, against: F32) -> F32:
    """Weight of a reference's height: the views that agree, its own included, times the squared confidence of the
    matcher, over one more than the views that see through it."""
    return (n_views * confidence**2 / (1.0 + against)).astype(np.float32)


@njit(cache=True, nogil=True)
def _fill(height: F32, radius: int, out: F32) -> None:
    h, w = height.shape
    for r in range(h):
        for c in range(w):
            if not np.isnan(height[r, c]):
                continue
            sides, s, sw = 0, 0.0, 0.0
            for i in range(max(r - radius, 0), min(r + radius + 1, h)):
                for j in range(max(c - radius, 0), min(c + radius + 1, w)):
                    z = height[i, j]
                    if not np.isnan(z):
                        sides |= (1 if i < r else 0) | (2 if i > r else 0) | (4 if j < c else 0) | (8 if j > c else 0)
                        q = 1.0 / ((i - r) ** 2 + (j - c) ** 2)
                        s, sw = s + q * z, sw + q
            if sides == 15:
                out[r, c] = s / sw


def fill_holes(height: F32, radius: int) -> F32:
    """Holes closed from known cells within `radius` cells on all four sides, weighted by inverse square distance."""
    out = height.copy()
    if radius > 0:
        _fill(height, radius, out)
    return out
