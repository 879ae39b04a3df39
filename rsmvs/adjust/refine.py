"""Sub-pixel matching of patches by least squares.

Source: Gruen (1985), adaptive least-squares correlation, in the inverse-compositional form of Baker & Matthews (2004)
with zero-mean normalised grey values (Pan et al. 2013). The patch of the reference is fixed; the source patch is an
affine image of it that starts from the geometry of the cameras. Only its position is estimated at first, then all six
parameters, so that a slope of the ground does not act as a shift.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rsmvs.types import F32, F64

_STEPS = 15
_CONVERGED = 0.01  # px; the step after would be a tenth of that
_TRANSLATION_STEPS = 3


@njit(cache=True, nogil=True, inline="always")
def _weight(t: float, w: F64) -> None:
    """Cubic convolution weights of Keys (1981) for the four samples around a fraction t."""
    w[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    w[1] = (1.5 * t - 2.5) * t * t + 1.0
    w[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    w[3] = (0.5 * t - 0.5) * t * t


@njit(cache=True, nogil=True)
def _sample(image: F32, x: float, y: float, wx: F64, wy: F64) -> float:
    """Grey value at (col, row) by cubic convolution; NaN beside holes and the border."""
    j, i = int(np.floor(x)), int(np.floor(y))
    if j < 1 or i < 1 or j + 2 >= image.shape[1] or i + 2 >= image.shape[0]:
        return np.nan
    _weight(x - j, wx)
    _weight(y - i, wy)
    value = 0.0
    for a in range(4):
        line = 0.0
        for b in range(4):
            line += wx[b] * image[i - 1 + a, j - 1 + b]
        value += wy[a] * line
    return value


@njit(cache=True, nogil=True)
def _cut(image: F32, warp: F64, radius: int, patch: F64, wx: F64, wy: F64) -> float:
    """Fill `patch` ((2r+1)^2,) with zero mean and unit norm through warp (2, 3); its norm, NaN where data lack."""
    n, total = 0, 0.0
    for i in range(-radius, radius + 1):
        for j in range(-radius, radius + 1):
            x = warp[0, 0] * j + warp[0, 1] * i + warp[0, 2]
            y = warp[1, 0] * j + warp[1, 1] * i + warp[1, 2]
            patch[n] = _sample(image, x, y, wx, wy)
            total += patch[n]
            n += 1
    patch -= total / n
    norm = np.sqrt(np.dot(patch, patch))
    if norm > 0:
        patch /= norm
    return norm


@njit(cache=True, nogil=True)
def _steepest(patch: F64, radius: int, out: F64) -> None:
    """Derivatives (n, 6) of the patch's grey values by the parameters: shift (2), then the affine matrix (4)."""
    side = 2 * radius + 1
    for i in range(side):
        for j in range(side):
            n = i * side + j
            left, right = patch[i * side + max(j - 1, 0)], patch[i * side + min(j + 1, side - 1)]
            up, down = patch[max(i - 1, 0) * side + j], patch[min(i + 1, side - 1) * side + j]
            gx = (right - left) / (2.0 if 0 < j < side - 1 else 1.0)
            gy = (down - up) / (2.0 if 0 < i < side - 1 else 1.0)
            x, y = j - radius, i - radius
            out[n, 0], out[n, 1] = gx, gy
            out[n, 2], out[n, 3], out[n, 4], out[n, 5] = gx * x, gx * y, gy * x, gy * y


@njit(cache=True, nogil=True)
def _compose(warp: F64, p: F64) -> bool:
    """warp <- warp o increment^-1, the increment being x -> x + p0 + p2 x + p3 y, y -> y + p1 + p4 x + p5 y."""
    a, b, c, d = 1.0 + p[2], p[3], p[4], 1.0 + p[5]
    det = a * d - b * c
    if not (0.5 < det < 2.0):
        return False
    ia, ib, ic, id_ = d / det, -b / det, -c / det, a / det
    tx, ty = -(ia * p[0] + ib * p[1]), -(ic * p[0] + id_ * p[1])
    for k in range(2):
        m0, m1 = warp[k, 0], warp[k, 1]
        warp[k, 2] += m0 * tx + m1 * ty
        warp[k, 0] = m0 * ia + m1 * ic
        warp[k, 1] = m0 * ib + m1 * id_
    return True


@njit(cache=True, nogil=True)
def _match_one(
    template: F64, slopes: F64, hessian: F64, source: F32, warp: F64, radius: int, patch: F64, wx: F64, wy: F64
) -> float:
    """Improve warp (2, 3) in place; the correlation reached, NaN when it does not converge."""
    p = np.zeros(6)
    small = np.ascontiguousarray(hessian[:2, :2])
    for step in range(_STEPS):
        if not _cut(source, warp, radius, patch, wx, wy) > 0:
            return np.nan
        right = slopes.T @ (patch - template)
        p[:] = 0.0
        if step < _TRANSLATION_STEPS:
            p[:2] = np.linalg.solve(small, right[:2])
        else:
            p[:] = np.linalg.solve(hessian, right)
        if not _compose(warp, p):
            return np.nan
        if step > _TRANSLATION_STEPS and p[0] * p[0] + p[1] * p[1] < _CONVERGED * _CONVERGED:
            break
    if not _cut(source, warp, radius, patch, wx, wy) > 0:
        return np.nan
    return float(np.dot(patch, template))


@njit(cache=True, nogil=True)
def _match_many(
    reference: F32, source: F32, ref_xy: F64, src_xy: F64, jacobian: F64, radius: int, out: F64, score: F64, sigma: F64
) -> None:
    size = (2 * radius + 1) ** 2
    template, patch, slopes = np.empty(size), np.empty(size), np.empty((size, 6))
    wx, wy, warp = np.empty(4), np.empty(4), np.empty((2, 3))
    for n in range(len(ref_xy)):
        out[n, 0], out[n, 1], score[n], sigma[n] = np.nan, np.nan, np.nan, np.nan
        warp[0, 0], warp[0, 1], warp[0, 2] = 1.0, 0.0, ref_xy[n, 0]
        warp[1, 0], warp[1, 1], warp[1, 2] = 0.0, 1.0, ref_xy[n, 1]
        if not _cut(reference, warp, radius, template, wx, wy) > 0:
            continue
        _steepest(template, radius, slopes)
        hessian = slopes.T @ slopes
        det = hessian[0, 0] * hessian[1, 1] - hessian[0, 1] ** 2
        if not det > 1e-12 or np.linalg.cond(hessian) > 1e9:
            continue
        for k in range(2):
            warp[k, 0], warp[k, 1], warp[k, 2] = jacobian[n, k, 0], jacobian[n, k, 1], src_xy[n, k]
        score[n] = _match_one(template, slopes, hessian, source, warp, radius, patch, wx, wy)
        if score[n] > 0:
            out[n, 0], out[n, 1] = warp[0, 2], warp[1, 2]
            # covariance of the shift from the grey-value residual: its larger axis
            noise = 2.0 * (1.0 - score[n]) / (size - 8)
            trace = hessian[0, 0] + hessian[1, 1]
            small = trace / 2 - np.sqrt(max(trace * trace / 4 - det, 0.0))
            sigma[n] = np.sqrt(noise / max(small, 1e-12))


def refine_matches(reference: F32, source: F32, ref_xy: F64, src_xy: F64, jacobian: F64, patch: int) -> tuple[F64, F64, F64]:
    """Positions (n, 2) of the source that match ref_xy (n, 2), their correlation (n,) and their formal sigma (n,) in px.

    reference, source: (h, w) grey values, NaN where there is no data; ref_xy, src_xy in pixels of these arrays.
    jacobian (n, 2, 2): d(source col, row) / d(reference col, row) from the cameras. patch: side, odd.
    NaN where data lack or the patch has no texture.
    """
    n = len(ref_xy)
    out, score, sigma = np.empty((n, 2)), np.empty(n), np.empty(n)
    arrays = (np.ascontiguousarray(a, np.float64) for a in (ref_xy, src_xy, jacobian))
    _match_many(np.ascontiguousarray(reference), np.ascontiguousarray(source), *arrays, patch // 2, out, score, sigma)
    return out, score, sigma
