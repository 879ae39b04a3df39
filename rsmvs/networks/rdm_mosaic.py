"""Relative depth of a large image from windows: aligned to each other, then blended, so that no grid shows.

Each window's answer has a scale and a shift of its own. They are found together, from all overlaps, by a robust least
squares fit; then the windows are averaged with weights that fall towards their rims.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array

from rsmvs.networks.windows import ramp
from rsmvs.types import F32, F64

_POINTS = 400  # compared per overlap
_ROUNDS = 10  # of reweighting
_HOLD = 1e-6  # pull of every scale towards one and shift towards zero: decides what the overlaps leave open

_EXACT = 1e-3  # residual below which all points count fully; the parts have unit deviation


def mosaic(image: F32, predict: Callable[[F32], F32], side: int, overlap: float) -> F32:
    """(h, w) relative depth; `predict` maps (hh, ww) windows of at most side x side pixels to theirs."""
    h, w = image.shape
    corners = [(r, c) for r in _starts(h, side, overlap) for c in _starts(w, side, overlap)]
    parts = [_standard(predict(image[r : r + side, c : c + side])) for r, c in corners]
    fits = align(parts, corners)
    total, weight = np.zeros((h, w)), np.zeros((h, w))
    for part, (r, c), (scale, shift) in zip(parts, corners, fits, strict=True):
        ph, pw = part.shape
        share = ramp(ph, pw, int(side * overlap)).astype(np.float64)
        total[r : r + ph, c : c + pw] += share * (scale * part + shift)
        weight[r : r + ph, c : c + pw] += share
    return (total / weight).astype(np.float32)


def _starts(size: int, side: int, overlap: float) -> list[int]:
    if size <= side:
        return [0]
    n = int(np.ceil((size - side) / (side * (1 - overlap)))) + 1
    return [int(v) for v in np.round(np.linspace(0, size - side, n))]


def _standard(depth: F32) -> F32:
    """Median 0 and mean absolute deviation 1."""
    centred = depth - np.median(depth)
    return (centred / max(float(np.abs(centred).mean()), 1e-9)).astype(np.float32)


def align(parts: Sequence[F32], corners: Sequence[tuple[int, int]]) -> F64:
    """(n, 2) scale and shift of each part, such that parts agree where they overlap; scales average one.

    Iteratively reweighted least squares with Cauchy weights: an object that two windows see differently does not count.
    """
    n = len(parts)
    blocks = [b for i in range(n) for j in range(i + 1, n) if (b := _overlap(parts, corners, i, j)) is not None]
    if not blocks:
        return np.tile([1.0, 0.0], (n, 1))
    owner = np.concatenate([np.full(len(x), k) for k, (_, _, x, _) in enumerate(blocks)])
    first, second = (np.array([b[k] for b in blocks])[owner] for k in (0, 1))
    x, y = (np.concatenate([b[k] for b in blocks]).astype(np.float64) for k in (2, 3))
    rows = np.tile(np.arange(len(x)), 4)
    columns = np.concatenate([2 * first, 2 * first + 1, 2 * second, 2 * second + 1])
    design = csr_array((np.concatenate([x, np.ones_like(x), -y, -np.ones_like(y)]), (rows, columns)), (len(x), 2 * n))
    gauge, hold = np.zeros(2 * n), _HOLD * len(x) / n  # sum of the scales = n; a weak pull to (1, 0)
    gauge[::2] = 1.0
    fixed = len(x) * np.outer(gauge, gauge) + hold * np.eye(2 * n)
    target = len(x) * n * gauge + hold * np.tile([1.0, 0.0], n)
    weights = np.ones(len(x))
    for _ in range(_ROUNDS):
        normal = (design.T @ (design * weights[:, None])).toarray() + fixed
        solution = np.linalg.solve(normal, target)
        residual = design @ solution
        weights = 1 / (1 + (residual / max(2 * float(np.median(np.abs(residual))), _EXACT)) ** 2)
    return solution.reshape(n, 2)


def _overlap(
    parts: Sequence[F32], corners: Sequence[tuple[int, int]], i: int, j: int
) -> tuple[int, int, F32, F32] | None:
    """(i, j, values of i, values of j) at points of their common area, on a regular pattern."""
    (ri, ci), (rj, cj) = corners[i], corners[j]
    r0, r1 = max(ri, rj), min(ri + parts[i].shape[0], rj + parts[j].shape[0])
    c0, c1 = max(ci, cj), min(ci + parts[i].shape[1], cj + parts[j].shape[1])
    if r1 - r0 < 2 or c1 - c0 < 2:
        return None
    step = max(int(np.sqrt((r1 - r0) * (c1 - c0) / _POINTS)), 1)
    a = parts[i][r0 - ri : r1 - ri : step, c0 - ci : c1 - ci : step]
    b = parts[j][r0 - rj : r1 - rj : step, c0 - cj : c1 - cj : step]
    return i, j, a.ravel(), b.ravel()


def channels(depth: F32, blurs: Sequence[float]) -> F32:
    """(3, h, w): the map under growing Gaussian blur (px), as the fusion takes it; gaps are filled from around first."""
    known = np.isfinite(depth)
    out = []
    for blur in blurs:
        total = gaussian_filter(np.where(known, depth, 0), max(blur, 1e-3))
        share = gaussian_filter(known.astype(np.float32), max(blur, 1e-3))
        middle = float(np.median(depth[known])) if known.any() else 0.0
        out.append(np.where(share > 1e-3, total / np.maximum(share, 1e-3), middle))
    return np.stack(out).astype(np.float32)
