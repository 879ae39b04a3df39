"""The position of a network that nothing ties to the ground.

Moving all ground points by d moves their images by J_v d, which shifts of the views take back: tie points cannot tell.
Left alone, such a network floats, by hundreds of metres, on the least misfit of its model. It is held by inner
constraints (the corrections have no common part that a move of the ground explains), as are tilt, scale and shear when
views may drift. The given cameras are right on average, so in the end d makes the shifts as small as possible over all
views; views whose cameras are far off (a wrong RPC) must not pull the others, and are left out after a robust start.
"""

from __future__ import annotations

import numpy as np

from rsmvs.types import F64

_UNKNOWNS = 6  # of a view: two shifts, four drifts, as in `bundle`
_ROBUST_STEPS = 30
_FAR_SIGMAS = 3.0


def inner_constraints(
    members: np.ndarray, jacobians: F64, half: F64, views: int, axes: tuple[int, ...] = (0, 1, 2), drift: bool = True
) -> F64:
    """Orthonormal rows (g, 6 views): combinations of the corrections of k member views that the ground may take over.

    jacobians (k, 2, 3) px per metre at each view's mean point; half (k,): half image sides, px, as in `bundle`.
    axes: directions in which the network is free to move; drift: whether it may also tilt, stretch and shear.
    """
    rows = []
    for axis in axes:
        row = np.zeros((views, _UNKNOWNS))
        row[members, :2] = jacobians[:, :, axis]
        rows.append(row.ravel())
    if drift:
        back = np.linalg.pinv(jacobians[:, :, :2])  # pixels to metres on the ground
        for i in range(3):
            for j in range(2):
                row = np.zeros((views, _UNKNOWNS))
                turned = jacobians[:, :, i, None] * back[:, None, j, :] * half[:, None, None]
                row[members, 2:] = turned.reshape(-1, 4)
                rows.append(row.ravel() / half.max())
    stacked = np.array(rows).reshape(-1, views * _UNKNOWNS)
    _, size, directions = np.linalg.svd(stacked, full_matrices=False)
    return directions[size > 1e-3 * size.max(initial=0.0)]


def gauge_shift(shifts: F64, jacobians: F64, sigma: float, free: tuple[bool, bool, bool] = (True, True, True)) -> F64:
    """The move d (3,) of the ground, m, after which the shifts of k views are smallest: shifts - J d.

    shifts (k, 2) px; jacobians (k, 2, 3) px per metre; sigma: expected size of a shift, px. free: axes that may move.
    """
    axes = np.flatnonzero(free)
    jac = jacobians[:, :, axes]
    move = np.zeros(3)
    weight = np.ones(len(shifts))
    for _ in range(_ROBUST_STEPS):  # least absolute values, from above: the majority of the views wins
        move[axes] = _solve(shifts, jac, weight)
        left = np.linalg.norm(shifts - jacobians @ move, axis=1)
        weight = 1 / np.maximum(left, 0.01 * sigma)
    near = left < _FAR_SIGMAS * sigma
    if near.sum() >= 2 or near.all():
        move[axes] = _solve(shifts[near], jac[near], np.ones(near.sum()))
    return move


def _solve(shifts: F64, jac: F64, weight: F64) -> F64:
    """Weighted least squares; directions without any parallax (views from one place) stay where they are."""
    root = np.sqrt(weight)[:, None]
    a = (jac * root[..., None]).reshape(-1, jac.shape[2])
    return np.asarray(np.linalg.lstsq(a, (shifts * root).ravel(), rcond=1e-4)[0])
