"""Compiled kernels of the semi-global matcher.

The cost volume is ragged: pixel p holds `count[p]` height planes from plane index `first[p]` on, at `start[p]` in one
flat array. Planes lie on one lattice for the whole scene, so that windows and tiles share their hypotheses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rsmvs.geometry.warp import field_at
from rsmvs.types import F32, F64

Bytes = NDArray[np.uint8]
Indices = NDArray[Any]
BLOCK_H, BLOCK_W = 32, 64
COST_RANGE = 192  # cost of the largest possible distance
HIDDEN = 255  # distance of a source without data


def census_weights(radius: int) -> Bytes:
    """Weight of each bit, (bits,), in row-major order of the window without its centre: the inner window counts twice,
    since what is near the pixel tells more about it."""
    n = range(-radius, radius + 1)
    return np.array([1 + (max(abs(i), abs(j)) < radius) for i in n for j in n if (i, j) != (0, 0)], np.uint8)


@njit(cache=True, nogil=True)
def census(image: F32, radius: int, out: Bytes) -> None:
    """Census transform (Zabih & Woodfill 1994) of (h + 2 radius, w + 2 radius) into `out` (bits, h, w), 0 or 1."""
    _, h, w = out.shape
    b = 0
    for dr in range(2 * radius + 1):
        for dc in range(2 * radius + 1):
            if dr == radius and dc == radius:
                continue
            for r in range(h):
                for c in range(w):
                    out[b, r, c] = np.uint8(image[r + dr, c + dc] > image[r + radius, c + radius])
            b += 1


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz"})
def warp_block(image: F32, coefs: F64, lattice: F64, row0: int, col0: int, height: float, out: F32) -> None:
    """`out` (h, w): the source image on a plane of constant height, for the reference block from (row0, col0) on.

    Over a block the field is bilinear to within its own error bound, so four exact corners suffice. NaN outside.
    """
    h, w = out.shape
    hs, ws = image.shape
    u00, v00 = field_at(coefs, lattice, col0, row0, height)
    u01, v01 = field_at(coefs, lattice, col0 + w - 1, row0, height)
    u10, v10 = field_at(coefs, lattice, col0, row0 + h - 1, height)
    u11, v11 = field_at(coefs, lattice, col0 + w - 1, row0 + h - 1, height)
    for r in range(h):
        t = r / (h - 1)
        ua, va = u00 + t * (u10 - u00), v00 + t * (v10 - v00)
        du, dv = (u01 + t * (u11 - u01) - ua) / (w - 1), (v01 + t * (v11 - v01) - va) / (w - 1)
        for c in range(w):
            u, v = np.float32(ua + c * du), np.float32(va + c * dv)
            j, i = int(np.floor(u)), int(np.floor(v))
            if 0 <= j < ws - 1 and 0 <= i < hs - 1:
                a, b = u - np.float32(j), v - np.float32(i)
                top = image[i, j] + a * (image[i, j + 1] - image[i, j])
                low = image[i + 1, j] + a * (image[i + 1, j + 1] - image[i + 1, j])
                out[r, c] = top + b * (low - top)
            else:
                out[r, c] = np.nan


@njit(cache=True, nogil=True)
def _distances(warped: F32, radius: int, reference: Bytes, weights: Bytes, out: Bytes) -> None:
    """Weighted census distance of a warped block to the reference's bits; the loops over columns run on bytes."""
    h, w = out.shape
    for r in range(h):
        row = out[r]
        row[:] = 0
        b = 0
        for dr in range(2 * radius + 1):
            for dc in range(2 * radius + 1):
                if dr == radius and dc == radius:
                    continue
                near, centre, bits, weight = warped[r + dr, dc:], warped[r + radius, radius:], reference[b, r], weights[b]
                for c in range(w):
                    row[c] += (np.uint8(near[c] > centre[c]) ^ bits[c]) * weight
                b += 1
        for c in range(w):
            if np.isnan(warped[r + radius, c + radius]):
                row[c] = HIDDEN


@njit(cache=True, nogil=True)
def block_distances(
    image: F32, coefs: F64, lattice: F64, reference: Bytes, weights: Bytes, row0: int, col0: int, planes: F64, radius: int,
    out: Bytes,
) -> None:
    """Census distances of one source for one block, `out` (planes, h, w) uint8; HIDDEN where it has no data.

    reference: census of the reference block (bits, h, w); its first pixel is (row0, col0) of the reference window.
    """
    n, h, w = out.shape
    warped = np.empty((h + 2 * radius, w + 2 * radius), np.float32)
    for k in range(n):
        warp_block(image, coefs, lattice, row0 - radius, col0 - radius, planes[k], warped)
        _distances(warped, radius, reference, weights, out[k])


@njit(cache=True, nogil=True)
def combine_block(
    distances: Bytes, first_plane: int, row0: int, col0: int, start: Indices, first: Indices, ceiling: int,
    unit: float, missing: int, cost: Bytes,
) -> None:
    """Mean over the sources that see the plane, each cut at `ceiling`, into the ragged volume in units of `unit`.

    The cut is what makes it robust: a view to which the point is hidden adds a constant. distances: (sources, planes,
    h, w). Where no source has data the cost is one more than the largest: no evidence, but to be told apart.
    """
    ns, _, h, w = distances.shape
    for r in range(min(h, first.shape[0] - row0)):
        for c in range(min(w, first.shape[1] - col0)):
            p = (row0 + r) * first.shape[1] + col0 + c
            for i in range(start[p + 1] - start[p]):
                k = first[row0 + r, col0 + c] + i - first_plane
                total, seen = 0, 0
                for s in range(ns):
                    bits = int(distances[s, k, r, c])
                    if bits != HIDDEN:
                        total += bits if bits < ceiling else ceiling
                        seen += 1
                cost[start[p] + i] = missing if seen == 0 else np.uint8(unit * total / seen + 0.5)


@njit(cache=True, nogil=True)
def _follow(
    cost: Bytes, before: Indices, floor: int, ceiling: int, offset: int, p1: int, shifted: Indices, now: Indices
) -> int:
    """Path costs of one pixel from those of the pixel before it on the path, into `now`; their minimum.

    before: path costs of the other pixel, `floor` their minimum, `offset` its first plane under this pixel's.
    """
    n, nq = cost.size, before.size
    for i in range(n + 2):  # the other's costs on this pixel's planes, a jump where it has none
        j = offset + i - 1
        shifted[i] = before[j] if 0 <= j < nq else ceiling
    least = 1 << 30
    for i in range(n):
        x = min(min(shifted[i + 1], ceiling), min(shifted[i], shifted[i + 2]) + p1)
        now[i] = np.int32(cost[i]) + x - floor
        least = min(least, int(now[i]))
    return least


@njit(cache=True, nogil=True)
def aggregate(
    cost: Bytes, start: Indices, first: Indices, image: F32, dr: int, dc: int, p1: int, p2: int,
    contrast: F32, total: Indices,
) -> None:
    """One path direction of semi-global matching (Hirschmueller 2008, eq. 13), added to `total`.

    The path comes from pixel (r - dr, c - dc). The second penalty falls with the step of the
    reference's grey values along the path: by half where it equals `contrast` (h, w).
    """
    h, w = first.shape
    row_ends = start[::w]
    widest, longest = (start[1:] - start[:-1]).max(), (row_ends[1:] - row_ends[:-1]).max()
    rows = np.zeros((2, longest), np.int32)
    low = np.zeros((2, w), np.int32)
    shifted = np.empty(widest + 2, np.int32)
    nothing = np.empty(0, np.int32)
    for rr in range(h):
        r = rr if dr >= 0 else h - 1 - rr
        now = rr % 2
        old = now if dr == 0 else 1 - now
        for cc in range(w):
            c = cc if dc >= 0 else w - 1 - cc
            p, q = r * w + c, (r - dr) * w + c - dc
            here = rows[now, start[p] - start[r * w] : start[p + 1] - start[r * w]]
            before, floor, ceiling, offset = nothing, 0, 0, 0
            if 0 <= r - dr < h and 0 <= c - dc < w and start[q + 1] > start[q]:
                row0 = start[(r - dr) * w]
                before, floor = rows[old, start[q] - row0 : start[q + 1] - row0], low[old, c - dc]
                jump = abs(image[r, c] - image[r - dr, c - dc])
                ceiling = int(floor + max(p2 / (1.0 + jump / contrast[r, c]), p1 + 1.0))
                offset = first[r, c] - first[r - dr, c - dc]
            here_cost = cost[start[p] : start[p + 1]]
            low[now, c] = _follow(here_cost, before, floor, ceiling, offset, p1, shifted, here) if here.size else 0
            for i in range(here.size):
                total[start[p] + i] += np.uint16(here[i])


@njit(cache=True, nogil=True)
def winners(
    total: Indices, cost: Bytes, start: Indices, first: Indices, interval: float, missing: int, height: F32,
    margin: F32,
) -> None:
    """Per pixel: height of the least total cost with a parabola between planes, the relative margin to the best cost
    two and more planes away. Pixels without planes or without any source stay NaN."""
    h, w = first.shape
    for r in range(h):
        for c in range(w):
            p = r * w + c
            s, n = start[p], start[p + 1] - start[p]
            height[r, c], margin[r, c] = np.nan, 0.0
            if n == 0:
                continue
            best = 0
            for i in range(1, n):
                if total[s + i] < total[s + best]:
                    best = i
            if cost[s + best] == missing:
                continue
            rival = 1 << 30
            for i in range(n):
                if abs(i - best) > 1:
                    rival = min(rival, int(total[s + i]))
            offset = 0.0
            t = np.float64(total[s + best])
            if 0 < best < n - 1:
                a, b = np.float64(total[s + best - 1]), np.float64(total[s + best + 1])
                if a + b - 2 * t > 0:
                    offset = 0.5 * (a - b) / (a + b - 2 * t)
            height[r, c] = (first[r, c] + best + offset) * interval
            margin[r, c] = 0.0 if rival == 1 << 30 else (rival - t) / (rival + 1.0)


@njit(cache=True, nogil=True)
def median3(values: F32) -> F32:
    """3 x 3 median over the values present; NaN stays NaN."""
    h, w = values.shape
    out = np.full((h, w), np.nan, np.float32)
    found = np.empty(9, np.float32)
    for r in range(h):
        for c in range(w):
            if np.isnan(values[r, c]):
                continue
            n = 0
            for i in range(max(r - 1, 0), min(r + 2, h)):
                for j in range(max(c - 1, 0), min(c + 2, w)):
                    x = values[i, j]
                    if not np.isnan(x):
                        k = n
                        while k > 0 and found[k - 1] > x:
                            found[k] = found[k - 1]
                            k -= 1
                        found[k] = x
                        n += 1
            out[r, c] = found[n // 2] if n % 2 else (found[n // 2 - 1] + found[n // 2]) / np.float32(2)
    return out


@njit(cache=True, nogil=True)
def smooth(height: F32, image: F32, radius: int, reach: float, contrast: F32) -> F32:
    """Mean of the neighbours on the same surface: within `reach` m (Tukey's weight), of similar grey value, and near."""
    h, w = height.shape
    out = np.full((h, w), np.nan, np.float32)
    for r in range(h):
        for c in range(w):
            z = height[r, c]
            if np.isnan(z):
                continue
            s, sw = 0.0, 0.0
            for i in range(max(r - radius, 0), min(r + radius + 1, h)):
                for j in range(max(c - radius, 0), min(c + radius + 1, w)):
                    d = (height[i, j] - z) / reach
                    if abs(d) < 1:
                        near = 1.0 + 4.0 * ((i - r) ** 2 + (j - c) ** 2) / (radius * radius)
                        alike = 1.0 + ((image[i, j] - image[r, c]) / contrast[r, c]) ** 2
                        q = (1 - d * d) ** 2 / (near * alike)
                        s, sw = s + q * d, sw + q
            out[r, c] = z + reach * s / sw
    return out
