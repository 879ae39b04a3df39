"""How bright a height field is along lines of sight, and where the sun does not reach. Positions in cells of its nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from rsmvs.geometry.heightfield import bilinear, first_hit, gradient, owner, ray_ends
from rsmvs.simulate.canvas import BUILDING, FOLIAGE
from rsmvs.types import F32, F64


@njit(cache=True, nogil=True, error_model="numpy")
def shadow_heights(surface: F32, dx: float, dy: float, drop: float) -> F32:
    """Height below which a point lies in the shadow of others.

    (dx, dy): unit vector towards the sun in cells; drop: metres that a sunbeam falls a cell. One sweep away from the sun,
    line by line: the shadow at a node is what its neighbour line casts, interpolated, minus the beam's fall.
    """
    h, w = surface.shape
    shadow = np.full((h, w), np.float32(-1e9))
    rows = abs(dy) >= abs(dx)
    n, m = (h, w) if rows else (w, h)
    main, side = (dy, dx) if rows else (dx, dy)
    shift, fall = side / abs(main), drop / abs(main)
    for k in range(1, n):
        a = k if main < 0 else n - 1 - k  # the sun stands on the side of the lines done before
        before = a - 1 if main < 0 else a + 1
        for b in range(m):
            s = min(max(b + shift, 0.0), m - 1.001)
            j = int(s)
            f = s - j
            if rows:
                p = max(shadow[before, j], surface[before, j])
                q = max(shadow[before, j + 1], surface[before, j + 1])
                shadow[a, b] = (1 - f) * p + f * q - fall
            else:
                p = max(shadow[j, before], surface[j, before])
                q = max(shadow[j + 1, before], surface[j + 1, before])
                shadow[b, a] = (1 - f) * p + f * q - fall
    return shadow


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _start(known: F32, row: int, col: int, heights: tuple[float, float], margin: float) -> float:
    """Where a line of sight within a pixel can start: a little above what the pixels about it see."""
    top = -np.inf
    for i in range(max(row - 1, 0), min(row + 2, known.shape[0])):
        for j in range(max(col - 1, 0), min(col + 2, known.shape[1])):
            if not known[i, j] <= top:  # NaN, too, ends the shortcut
                top = known[i, j] if known[i, j] == known[i, j] else np.inf
    return max((heights[0] - top - margin) / (heights[0] - heights[1]), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def shade(
    layers: Any, maxima: tuple[F32, F32], ends: F64, step: float, heights: tuple[float, float], cell: float,
    top: F32, side: F32, sun: Any, sky: F32, beam: F32, offsets: F64, known: F32, out: F32,
) -> None:
    """Radiance (c, h, w), the mean of the lines of sight at `offsets` (n, 2) (px) from each pixel's centre.

    known: (h, w) heights at the pixel centres, NaN where not known: lines of sight start close above them.
    layers: surface, classes, material, albedo, shadow heights, openness to the sky (0 to 1). top, side: (material, c)
    reflectance; sun: unit vector (x in cells east, y in cells south, up); sky, beam: (c,) irradiance.
    """
    surface, labels, material, albedo, shadow, openness = layers
    high, low = heights
    for r in range(out.shape[1]):
        for c in range(out.shape[2]):
            start = _start(known, r, c, heights, 3.0 * cell)
            for n in range(len(offsets)):
                x0, y0, x1, y1 = ray_ends(ends, step, c + offsets[n, 0], r + offsets[n, 1])
                t = first_hit(surface, *maxima, x0, y0, high, x1, y1, low, start)
                x = min(max(x0 + t * (x1 - x0), 0.0), surface.shape[1] - 1.001)
                y = min(max(y0 + t * (y1 - y0), 0.0), surface.shape[0] - 1.001)
                z = high + t * (low - high)
                i, j, wall = owner(surface, x, y)
                gx, gy = gradient(surface, x, y, cell)
                cosine = max((sun[2] - gx * sun[0] - gy * sun[1]) / np.sqrt(1 + gx * gx + gy * gy), 0.0)
                if labels[i, j] == FOLIAGE:  # leaves face all ways, and let light through
                    cosine = 0.45 * cosine + 0.5 * sun[2]
                lit = min(max((z - bilinear(shadow, x, y)) / 0.5 + 0.6, 0.0), 1.0)
                glow = bilinear(openness, x, y)
                if wall and labels[i, j] == BUILDING:
                    tone = facade(surface[i, j] - z, (x if abs(gy) > abs(gx) else y) * cell)
                    for k in range(out.shape[0]):
                        out[k, r, c] += tone * side[material[i, j], k] * (beam[k] * cosine * lit + 0.6 * sky[k] * glow)
                else:
                    tone = bilinear(albedo, x, y)
                    for k in range(out.shape[0]):
                        out[k, r, c] += tone * top[material[i, j], k] * (beam[k] * cosine * lit + sky[k] * glow)
            for k in range(out.shape[0]):
                out[k, r, c] /= len(offsets)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def facade(below_eave: float, along: float) -> float:
    """Brightness of a wall: rows of dark windows, one a storey (2.8 m)."""
    storey, bay = (below_eave / 2.8) % 1.0, (along / 2.4) % 1.0
    return 0.45 if 0.25 < storey < 0.75 and 0.25 < bay < 0.75 else 1.0
