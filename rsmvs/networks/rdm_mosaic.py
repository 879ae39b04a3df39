"""Relative depth of a large image from windows: aligned to each other, then blended, so that no grid shows.

Each window's answer has a scale and a shift of its own. They are found from all overlaps by robust fits; then the windows
are averaged with weights that fall towards their rims.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from rsmvs.networks.windows import ramp
from rsmvs.types import F32, F64

_POINTS = 400  # compared per overlap
_ROUNDS = 10  # of reweighting
_HOLD = 1e-6  # pull of every shift towards zero: decides what the overlaps leave open
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
    """(n, 2) scale and shift of each part, such that parts agree where they overlap; scales are about one, and positive.

    Scales come first, as logarithms, each pair of windows trusted as far as it agrees: scales and shifts fitted at once to the
    differences shrink to nothing wherever windows disagree.
    """
    n = len(parts)
    blocks = [b for i in range(n) for j in range(i + 1, n) if (b := _overlap(parts, corners, i, j)) is not None]
    scale = np.exp(_balanced(n, [(i, j, *_ratio(x, y)) for i, j, x, y in blocks], 1.0))
    apart = [(i, j, float(np.median(scale[j] * y - scale[i] * x)), float(len(x))) for i, j, x, y in blocks]
    return np.stack([scale, _balanced(n, apart, _HOLD)], 1)


def _balanced(n: int, pairs: Sequence[tuple[int, int, float, float]], hold: float) -> F64:
    """(n,) values v near zero with v_i - v_j as given, by least squares; pairs: (i, j, difference, weight)."""
    normal, target = hold * np.eye(n), np.zeros(n)
    for i, j, difference, weight in pairs:
        sign = np.zeros(n)
        sign[i], sign[j] = 1.0, -1.0
        normal += weight * np.outer(sign, sign)
        target += weight * difference * sign
    return np.asarray(np.linalg.solve(normal, target), np.float64)


def _ratio(x: F32, y: F32) -> tuple[float, float]:
    """(logarithm of the spread of y over that of x, trust in it): the reduced major axis, reweighted so that an object that two
    windows see differently does not count."""
    weights, ratio, agreement = np.ones(len(x)), 1.0, 0.0
    for _ in range(_ROUNDS):
        a, b = (v - np.average(v, weights=weights) for v in (x.astype(np.float64), y.astype(np.float64)))
        xx, yy, xy = (float(np.average(p, weights=weights)) for p in (a * a, b * b, a * b))
        if min(xx, yy) < _EXACT**2:
            return 0.0, 0.0
        ratio, agreement = np.sqrt(yy / xx), max(xy, 0.0) / np.sqrt(xx * yy)
        residual = b - ratio * a
        weights = 1 / (1 + (residual / max(2 * float(np.median(np.abs(residual))), _EXACT)) ** 2)
    return float(np.log(ratio)), agreement**2 / (1 - min(agreement, 1.0) ** 2 + 1e-6)


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
