"""The steps of a bundle adjustment, robust against wrong tracks and wrong cameras.

First least absolute values, which a third of wrong matches does not mislead, then Cauchy's weights, then rejection by
each view's own spread of residuals, then least squares. Views without enough tracks keep their camera.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from rsmvs.adjust.bundle import UNKNOWNS, Block, Frame, State, correction_at, point_sigmas, relative_pixels, residuals, step
from rsmvs.adjust.control import ControlPoint, DemAnchor, ground_of, with_control
from rsmvs.adjust.gauge import gauge_shift, inner_constraints
from rsmvs.adjust.records import Network, Sensor
from rsmvs.adjust.tracks import Tracks
from rsmvs.geometry.derivatives import projection_jacobian
from rsmvs.geometry.rpc import RPC
from rsmvs.options import AdjustOptions
from rsmvs.types import F64

_FLOOR_PX = 0.05  # of the residuals' spread: simulated tracks have none
_LEAST_LIMIT_PX = 0.5  # nothing better than this is rejected
_WORST_VIEW = 3.0  # a view's residuals may be so many times those of the others before it is the view that is wrong
_LEAST_SHARE = 0.2  # of a view's tie points must agree: by chance, a few in a hundred do
_LINK = 4  # tracks that tie two views together
_ABSOLUTE_STEPS, _CAUCHY_STEPS, _SQUARE_STEPS = 12, 20, 4
_CONVERGED_PX = 1e-4
_RAYLEIGH = 1.1774  # median of the length of a 2-D normal deviate, in its sigmas
_DRIFT_TRACKS, _DRIFT_CELLS = 50, 8  # a drift needs that many points, in that many of 4 x 4 cells of the image
_DRIFT_CONTROL = 4  # control points that determine tilt, scale and shear of a network
_DRIFT_GAIN = 0.98  # and it must pay: at most this share of the residuals' RMS may be left


class Solver:
    """State of one adjustment. `block` holds the tracks that are still trusted."""

    def __init__(
        self, tracks: Tracks, sensors: list[Sensor], height_range: tuple[float, float], options: AdjustOptions,
        control: Sequence[ControlPoint], dem: DemAnchor | None, fixed: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.fixed = np.array([s.id in fixed for s in sensors], bool)
        self.sensors, self.options, self.dem, self.height_range = sensors, options, dem, height_range
        self.flags: dict[str, list[str]] = {s.id: [] for s in sensors}
        tracks, self.control = with_control(tracks, control)
        self.is_control = np.r_[np.zeros(tracks.n - len(self.control), bool), np.ones(len(self.control), bool)]
        self.total = np.bincount(tracks.view, minlength=len(sensors))
        self.block = self._first_block(tracks)
        self.state = State(np.zeros((tracks.n, 3)), np.zeros((len(sensors), UNKNOWNS)))
        self.thrown = np.zeros(len(sensors))
        self.active = np.zeros(len(sensors), bool)
        self._activate()

    def _first_block(self, tracks: Tracks) -> Block:
        size = np.array([[s.width, s.height] for s in self.sensors], float).reshape(-1, 2)
        mid = sum(self.height_range) / 2
        ground = [s.camera.localise((s.width - 1) / 2, (s.height - 1) / 2, mid) for s in self.sensors]
        frame = Frame(*(float(v) for v in np.nan_to_num(np.median(np.array(ground).reshape(-1, 2), axis=0))))
        free = np.full((tracks.n, 3), np.inf)
        known, sigma = ground_of(self.control)
        if len(known):
            free[self.is_control] = sigma
        at = np.zeros((tracks.n, 3))
        at[self.is_control] = frame.from_ground(known)
        obs_sigma = np.where(self.is_control[tracks.point], self.options.gcp_sigma_px, 1.0)
        zero = np.zeros((len(self.sensors), UNKNOWNS))
        half = size.max(axis=1, initial=2.0) / 2
        cameras = [s.camera for s in self.sensors]
        return Block(cameras, (size - 1) / 2, half, frame, tracks, obs_sigma, at, free, zero, np.empty((0, zero.size)))

    def _activate(self) -> None:
        """Views with enough tracks get an unknown shift; the others keep their cameras, their tracks are dropped."""
        control_seen = np.bincount(self.block.tracks.view[self._control_obs()], minlength=len(self.sensors))
        while True:
            count = np.bincount(self.block.tracks.view, minlength=len(self.sensors))
            network = self.block.tracks.networks(_LINK)
            tied = (count >= self.options.min_tracks) & (np.bincount(network)[network] > 1)
            tied &= count >= _LEAST_SHARE * (count + self.thrown)
            enough = tied | (control_seen >= 3)
            keep = self.block.tracks.usable(enough[self.block.tracks.view], self.is_control)
            if keep.all():
                break
            self._keep(keep)
        self.active = enough
        self.block.prior_sigma[:, :2] = np.where(enough & ~self.fixed, self.options.shift_sigma, 0.0)[:, None]
        self.block.prior_sigma[~enough, 2:] = 0.0

    def _control_obs(self) -> np.ndarray:
        return self.is_control[self.block.tracks.point]

    def _keep(self, mask: np.ndarray) -> None:
        self.block, points = self.block.kept(mask)
        kept = points[self.is_control[points]] - (len(self.is_control) - len(self.control))  # control points come last
        self.control = [self.control[k] for k in kept]
        self.is_control = self.is_control[points]
        self.state = replace(self.state, xyz=self.state.xyz[points])

    def intersect(self) -> None:
        """Points from the given cameras: a pixel at the middle height, then robust intersection."""
        t = self.block.tracks
        first = np.searchsorted(t.point, np.arange(t.n))
        mid = sum(self.height_range) / 2
        ground = np.full((t.n, 3), mid)
        for v, sensor in enumerate(self.sensors):
            mine = np.flatnonzero(t.view[first] == v)
            col, row = t.xy[first[mine]].T
            ground[mine, 0], ground[mine, 1] = sensor.camera.localise(col, row, mid)
        self.state = replace(self.state, xyz=self.block.frame.from_ground(ground))
        seen = np.asarray(np.isfinite(self.state.xyz).all(axis=1))[t.point]
        if not seen.all():  # pixels outside their camera's model
            self._keep(seen)
            self._activate()
        for _ in range(6):
            self._step("absolute", fixed=True)

    def _spread(self, length: F64) -> float:
        ties = length[~self._control_obs()]
        return max(float(np.median(ties)) / _RAYLEIGH, _FLOOR_PX) if len(ties) else 1.0

    def _step(self, loss: str, fixed: bool = False) -> float:
        if self.block.tracks.n == 0:
            return 0.0
        length = np.linalg.norm(residuals(self.block, self.state), axis=1)
        spread = self._spread(length)
        t = length / spread
        robust = {"absolute": (1 + t**2) ** -0.5, "cauchy": 1 / (1 + (t / 2.5) ** 2), "square": np.ones_like(t)}[loss]
        ties = ~self._control_obs()
        block = replace(self.block, obs_sigma=np.where(ties, spread, self.block.obs_sigma))
        block, ground_robust = (block, None) if fixed else self._anchored(block)  # the anchor is the cameras', not each point's
        self.state, change = step(block, self.state, np.where(ties, robust, 1.0), ground_robust, fixed)
        return change

    def _anchored(self, block: Block) -> tuple[Block, F64 | None]:
        """With the DEM's height under each point as an observation of its height; houses and trees weigh less."""
        if self.dem is None:
            return block, None
        lon, lat, _ = block.frame.to_ground(self.state.xyz).T
        height = self.dem.height_of(lon, lat)
        known = np.isfinite(height) & ~self.is_control
        ground, sigma = block.ground.copy(), block.ground_sigma.copy()
        ground[known, 2], sigma[known, 2] = height[known], self.dem.sigma
        off = np.where(known, (self.state.xyz[:, 2] - np.where(known, height, 0.0)) / self.dem.sigma, 0.0)
        median = np.median(off[known]) if known.any() else 0.0  # the network may still be far from the DEM as a whole
        return replace(block, ground=ground, ground_sigma=sigma), 1 / (1 + ((off - np.where(known, median, 0.0)) / 2) ** 2)

    def solve(self) -> None:
        """All views and points; wrong observations are dropped for good."""
        self._hold()
        for loss, steps in (("absolute", _ABSOLUTE_STEPS), ("cauchy", _CAUCHY_STEPS)):
            for _ in range(steps):
                if self._step(loss) < _CONVERGED_PX:
                    break
        for _ in range(2):
            self._reject()
            self._hold()
            for _ in range(_SQUARE_STEPS):
                if self._step("square") < _CONVERGED_PX:
                    break

    def _reject(self) -> None:
        t = self.block.tracks
        length = np.linalg.norm(residuals(self.block, self.state), axis=1)
        ties = ~self._control_obs()
        medians = np.full(len(self.sensors), np.inf)
        for v in set(t.view[ties].tolist()):
            medians[v] = np.median(length[(t.view == v) & ties])
        limit = np.minimum(medians, _WORST_VIEW * np.median(medians[self.active])) if self.active.any() else medians
        limit = np.maximum(limit * self.options.outlier_sigmas / _RAYLEIGH, _LEAST_LIMIT_PX)
        low, high = self.height_range
        margin = 0.25 * (high - low) + 3 * point_sigmas(self.block, self.state)[:, 2] * self._spread(length)
        h = self.state.xyz[:, 2]
        good = (length < limit[t.view]) & ((h > low - margin) & (h < high + margin))[t.point]
        self.thrown += np.bincount(t.view[~good & ties], minlength=len(self.sensors))
        self._keep(t.usable(good | ~ties, self.is_control))

    def drop_weak_views(self) -> bool:
        """Whether rejection left some active view with too few tracks; it is taken out."""
        before = self.active.copy()
        self._activate()
        lost = before & ~self.active
        self.state.corrections[lost] = 0.0
        return bool(lost.any())

    def try_drift(self) -> None:
        """Let the views drift whose tie points cover the image; in mode 'auto' only when the residuals gain by it."""
        t, plain = self.block.tracks, self.state
        supported = np.zeros(len(self.sensors), bool)
        for v, sensor in enumerate(self.sensors):
            xy = t.xy[t.view == v]
            cells = np.unique((np.clip(xy / [sensor.width, sensor.height], 0, 0.999) * 4).astype(int), axis=0)
            enough = len(xy) >= _DRIFT_TRACKS and len(cells) >= _DRIFT_CELLS
            supported[v] = self.active[v] and not self.fixed[v] and enough and isinstance(sensor.camera, RPC)
            if self.options.mode == "affine" and self.active[v] and not (supported[v] or self.fixed[v]):
                self.flags[sensor.id].append("no drift: its tie points do not cover the image")
        if not supported.any():
            return
        rms = np.sqrt(np.mean(residuals(self.block, plain) ** 2))
        self.block.prior_sigma[supported, 2:] = (self.options.drift_sigma * self.block.half[supported] / 1000)[:, None]
        self._hold()
        for _ in range(2 * _SQUARE_STEPS):
            if self._step("square") < _CONVERGED_PX:
                break
        gained = np.sqrt(np.mean(residuals(self.block, self.state) ** 2)) < _DRIFT_GAIN * rms
        if self.options.mode == "auto" and not gained:
            self.state = plain
            self.block.prior_sigma[:, 2:] = 0.0
            return
        self._reject()
        for _ in range(_SQUARE_STEPS):
            self._step("square")

    def _networks(self) -> list[tuple[np.ndarray, F64, int]]:
        """Views that hang together: their indices, d(col, row) / d(ground) at each one's mean point, control points."""
        t = self.block.tracks
        number = t.networks(_LINK)
        control = number[t.view[self._control_obs()]]
        points = t.point[self._control_obs()]
        found = []
        for n in sorted(set(number[self.active].tolist())):
            members = np.flatnonzero(self.active & (number == n))
            jac = np.empty((len(members), 2, 3))
            for k, v in enumerate(members):
                ground = self.block.frame.to_ground(self.state.xyz[t.point[t.view == v]]).mean(axis=0)
                jac[k] = projection_jacobian(self.sensors[v].camera, *ground[:, None])[0] / self.block.frame.scale
            found.append((members, jac, len(set(points[control == n].tolist()))))
        return found

    def _hold(self) -> None:
        """Hold what neither tie points nor control determine."""
        size = len(self.sensors)
        rows = [np.empty((0, size * UNKNOWNS))]
        for members, jac, control in self._networks():
            if self.fixed[members].any():
                continue  # held by the views that stand
            axes = () if control else (0, 1, 2) if self.dem is None else (0, 1)
            drift = control < _DRIFT_CONTROL and bool((self.block.prior_sigma[members, 2:] > 0).any())
            if axes or drift:
                rows.append(inner_constraints(members, jac, self.block.half[members], size, axes, drift))
        self.block = replace(self.block, held=np.concatenate(rows))

    def fix_gauge(self) -> None:
        """Put networks without control where their cameras are on average, and flag views far from the others."""
        t = self.block.tracks
        shift = correction_at(self.state.corrections[t.view], relative_pixels(self.block, t.view, t.xy))
        networks = self._networks()
        for number, (members, jac, control) in enumerate(networks, 1):
            mean = np.array([shift[t.view == v].mean(axis=0) for v in members])
            if not (control or self.fixed[members].any()):
                move = gauge_shift(mean, jac, self.options.shift_sigma, (True, True, self.dem is None))
                self.state.xyz[np.unique(t.point[np.isin(t.view, members)])] += move
                self.state.corrections[members, :2] -= jac @ move
                mean = mean - jac @ move
            for v, m in zip(members, mean, strict=True):
                if np.hypot(*m) > 3 * self.options.shift_sigma:
                    self.flags[self.sensors[v].id].append(f"camera off by {np.hypot(*m):.1f} px against the others")
                if len(networks) > 1:
                    self.flags[self.sensors[v].id].append(f"network {number} of {len(networks)}: not tied to the others")
        for _ in range(2):
            self._step("square", fixed=True)

    def result(self) -> Network:
        adjusted, after = self.state, residuals(self.block, self.state)
        for v, sensor in enumerate(self.sensors):
            if not self.active[v]:
                why = "no tie points" if self.total[v] == 0 else f"only {self.total[v]} tie points, of which too few agree"
                self.flags[sensor.id].append(f"camera kept as given: {why}")
        self.state = replace(adjusted, corrections=np.zeros_like(adjusted.corrections), xyz=adjusted.xyz.copy())
        for _ in range(6):
            self._step("square", fixed=True)
        known, ties = self.is_control, ~self._control_obs()
        off = (adjusted.xyz - self.block.ground)[known]
        t = self.block.tracks
        tracks = replace(t, n=int((~known).sum()), point=t.point[ties], view=t.view[ties], xy=t.xy[ties])
        spread = self._spread(np.linalg.norm(after, axis=1))
        sigma = point_sigmas(self.block, adjusted)[~known] * spread
        weight = sigma**-2 / np.maximum(np.sum(sigma**-2, axis=0), 1e-30)
        moved = np.sum((adjusted.xyz - self.state.xyz)[~known] * weight, axis=0)
        return Network(
            tuple(s.id for s in self.sensors), adjusted.corrections, self.flags, tracks,
            self.block.frame.to_ground(adjusted.xyz[~known]), sigma[:, 2],
            residuals(self.block, self.state)[ties], after[ties],
            self.total - np.bincount(t.view, minlength=len(self.sensors)),
            {c.name: (float(o[0]), float(o[1]), float(o[2])) for c, o in zip(self.control, off, strict=True)},
            moved,
        )  # fmt: skip
