"""One Gauss-Newton step of the bundle adjustment, in float64, with analytic derivatives and a Schur complement.

Model (Grodecki & Dial 2003): the position of ground point X in view v is p + b_v + A_v s(p) with p = project_v(X), s the
pixel relative to the image centre in halves of the longer image side, b_v a shift and A_v a drift (2 x 2), both in px.
Ground points live in a local metric frame: x, y metres east and north of the frame's origin (a fixed number of metres
per degree, so the way back is exact), z the ellipsoidal height. Every point is eliminated from the normal equations
(its 3 x 3 block inverted); what remains are at most six unknowns a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from scipy.linalg import cho_factor, cho_solve

from rsmvs.adjust.tracks import Tracks
from rsmvs.geometry.derivatives import projection_jacobian
from rsmvs.types import F64, Camera

UNKNOWNS = 6  # of a view: shift (col, row), drift (col by col, col by row, row by col, row by row)
_FREE_SIGMA = 1e4  # m; damps the directions in which a point is not observed at all (parallel lines of sight)
_HELD_SIGMA = 1e-3  # px; holds the gauge against any number of tie points, which know nothing of it
_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class Frame:
    """Local metric frame: metres per degree of longitude and latitude about an origin (degrees)."""

    lon: float
    lat: float

    @property
    def scale(self) -> F64:
        return np.array([_METRES_PER_DEGREE * np.cos(np.radians(self.lat)), _METRES_PER_DEGREE, 1.0])

    def to_ground(self, xyz: F64) -> F64:
        """(n, 3) metres to lon, lat (degrees), h (m)."""
        return xyz / self.scale + [self.lon, self.lat, 0.0]

    def from_ground(self, lon_lat_h: F64) -> F64:
        d = lon_lat_h - [self.lon, self.lat, 0.0]
        d[..., 0] = (d[..., 0] + 180.0) % 360.0 - 180.0  # scenes across the antimeridian
        return d * self.scale


@dataclass(frozen=True, eq=False)
class Block:
    """The cameras and what is observed. centre (v, 2), half (v,): of the images, px. obs_sigma (m,): px.

    ground, ground_sigma (n, 3): coordinates of points known from elsewhere and their sigmas; infinite where free.
    prior_sigma (v, 6): expected size of the corrections; a sigma of 0 keeps an unknown at zero.
    held (g, 6 v): combinations of corrections that are kept at zero, orthonormal rows (see `gauge`).
    """

    cameras: Sequence[Camera]
    centre: F64
    half: F64
    frame: Frame
    tracks: Tracks
    obs_sigma: F64
    ground: F64
    ground_sigma: F64
    prior_sigma: F64
    held: F64

    def kept(self, mask: np.ndarray) -> tuple[Block, np.ndarray]:
        """The block with the observations of a mask (m,), and the points (indices) that it still has."""
        tracks = self.tracks.kept(mask)
        points = np.unique(self.tracks.point[mask])
        ground, sigma = self.ground[points], self.ground_sigma[points]
        return replace(self, tracks=tracks, obs_sigma=self.obs_sigma[mask], ground=ground, ground_sigma=sigma), points


@dataclass(frozen=True, eq=False)
class State:
    """xyz (n, 3): points in the frame; corrections (v, 6) in px."""

    xyz: F64
    corrections: F64


def relative_pixels(block: Block, view: np.ndarray, uv: F64) -> F64:
    """s(p) of the module's text, (m, 2)."""
    return (uv - block.centre[view]) / block.half[view][:, None]


def correction_at(corrections: F64, s: F64) -> F64:
    """Correction (m, 2) in px at relative pixels s (m, 2); corrections (m, 6) or (6,)."""
    drift = np.reshape(corrections[..., 2:], (*corrections.shape[:-1], 2, 2))
    return corrections[..., :2] + np.einsum("...ij,...j->...i", drift, s)


def residuals(block: Block, state: State) -> F64:
    """Observed minus computed, (m, 2) px."""
    return _linearised(block, state, derivatives=False)[0]


def _linearised(block: Block, state: State, derivatives: bool = True) -> tuple[F64, F64, F64]:
    """Residuals (m, 2), their derivatives by the point (m, 2, 3) per metre and by the view's unknowns (m, 2, 6)."""
    t = block.tracks
    m = len(t.point)
    uv, jac = np.empty((m, 2)), np.empty((m, 2, 3))
    ground = block.frame.to_ground(state.xyz)[t.point]
    for v, camera in enumerate(block.cameras):
        mine = np.flatnonzero(t.view == v)
        if len(mine):
            uv[mine] = np.stack(camera.project(*ground[mine].T), axis=1)
            if derivatives:
                jac[mine] = projection_jacobian(camera, *ground[mine].T)
    s = relative_pixels(block, t.view, uv)
    mine_c = state.corrections[t.view]
    error = t.xy - uv - correction_at(mine_c, s)
    if not derivatives:
        return error, jac, np.empty((0, 2, UNKNOWNS))
    through = np.eye(2) + mine_c[:, 2:].reshape(-1, 2, 2) / block.half[t.view][:, None, None]
    by_point = through @ (jac / block.frame.scale)
    by_view = np.zeros((m, 2, UNKNOWNS))
    by_view[:, 0, 0] = by_view[:, 1, 1] = 1.0
    by_view[:, 0, 2:4] = by_view[:, 1, 4:6] = s
    return error, by_point, by_view


@njit(cache=True, nogil=True)
def _schur(
    first: np.ndarray, view: np.ndarray, error: F64, by_point: F64, by_view: F64, weight: F64, inverse: F64, pull: F64,
    normal: F64, right: F64,
) -> None:  # fmt: skip
    """Add all points' share to the reduced normal equations: normal (6v, 6v) and right (6v,).

    first (n + 1,): where a point's observations start; inverse (n, 3, 3) of its block; pull (n, 3) its right side.
    """
    k = by_view.shape[2]
    cross = np.empty((len(view), k, 3))
    for p in range(len(first) - 1):
        for a in range(first[p], first[p + 1]):
            cross[a] = weight[a] * (by_view[a].T @ by_point[a])
        for a in range(first[p], first[p + 1]):
            ia = view[a] * k
            normal[ia : ia + k, ia : ia + k] += weight[a] * (by_view[a].T @ by_view[a])
            half = cross[a] @ inverse[p]
            right[ia : ia + k] += weight[a] * (by_view[a].T @ error[a]) - half @ pull[p]
            for b in range(first[p], first[p + 1]):
                ib = view[b] * k
                normal[ia : ia + k, ib : ib + k] -= half @ cross[b].T


def _point_blocks(
    block: Block, state: State, first: np.ndarray, error: F64, by_point: F64, weight: F64, ground_weight: F64
) -> tuple[F64, F64]:
    """Inverted normal blocks (n, 3, 3) and right sides (n, 3) of the points."""
    weighted = by_point * weight[:, None, None]
    blocks = np.add.reduceat(np.einsum("mki,mkj->mij", weighted, by_point), first[:-1])
    pull = np.add.reduceat(np.einsum("mki,mk->mi", weighted, error), first[:-1])
    known = ground_weight > 0
    pull += np.where(known, ground_weight * (np.where(known, block.ground, 0.0) - state.xyz), 0.0)
    blocks[:, range(3), range(3)] += ground_weight + _FREE_SIGMA**-2
    return np.linalg.inv(blocks), pull


def step(block: Block, state: State, robust: F64, ground_robust: F64 | None = None, fixed: bool = False) -> tuple[State, float]:
    """The state after one Gauss-Newton step and the largest change of a view's correction at its image, px.

    robust (m,): weights of the observations in 0..1. ground_robust (n,): those of known ground coordinates.
    fixed: the corrections stay, points are only intersected.
    """
    t = block.tracks
    first = np.searchsorted(t.point, np.arange(t.n + 1))
    weight = robust / block.obs_sigma**2
    ground_weight = block.ground_sigma**-2.0 * (1.0 if ground_robust is None else ground_robust[:, None])
    error, by_point, by_view = _linearised(block, state)
    inverse, pull = _point_blocks(block, state, first, error, by_point, weight, ground_weight)
    delta = np.zeros_like(state.corrections)
    if not fixed:
        normal, right = np.zeros((delta.size, delta.size)), np.zeros(delta.size)
        _schur(first, t.view, error, by_point, by_view, weight, inverse, pull, normal, right)
        free = np.flatnonzero(block.prior_sigma.ravel() > 0)
        weak = np.diag(block.prior_sigma.ravel()[free] ** -2.0) + block.held[:, free].T @ block.held[:, free] / _HELD_SIGMA**2
        right = right[free] - weak @ state.corrections.ravel()[free]
        delta.ravel()[free] = cho_solve(cho_factor(normal[np.ix_(free, free)] + weak), right)
        moved = np.einsum("mki,mk->mi", by_point * weight[:, None, None], np.einsum("mki,mi->mk", by_view, delta[t.view]))
        pull = pull - np.add.reduceat(moved, first[:-1])
    xyz = state.xyz + np.einsum("nij,nj->ni", inverse, pull)
    return State(xyz, state.corrections + delta), float(np.abs(delta).max(initial=0.0))


def point_sigmas(block: Block, state: State) -> F64:
    """Formal sigmas (n, 3) of the points, m per px of image error, the cameras taken as true."""
    t = block.tracks
    if t.n == 0:
        return np.empty((0, 3))
    first = np.searchsorted(t.point, np.arange(t.n))
    by_point = _linearised(block, state)[1]
    blocks = np.add.reduceat(np.einsum("mki,mkj->mij", by_point, by_point), first)
    blocks[:, range(3), range(3)] += _FREE_SIGMA**-2
    return np.sqrt(np.diagonal(np.linalg.inv(blocks), axis1=1, axis2=2))
