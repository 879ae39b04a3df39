"""Tie points of simulated cameras with known errors: what a bundle adjustment is tested and timed with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rsmvs.adjust.corrections import CorrectedCamera
from rsmvs.adjust.records import Sensor
from rsmvs.adjust.tracks import Tracks
from rsmvs.geometry.rpc import RPC
from rsmvs.simulate.options import ViewOptions
from rsmvs.simulate.sensor import pushbroom, vendor_rpc
from rsmvs.types import F64

_TARGET = (36.92, 37.58, 600.0)  # lon, lat (degrees), h (m)
_RELIEF = 120.0  # m
_GOLDEN = 0.6180339887  # multiples of it, modulo 1, fill an interval evenly: no two views look from the same place


@dataclass(frozen=True, eq=False)
class SimulatedNetwork:
    """exact: cameras without error; sensors: with the given, wrong cameras; tracks with points (n, 3) lon, lat, h (m);
    wrong (m,): observations that were thrown off."""

    exact: tuple[RPC, ...]
    sensors: tuple[Sensor, ...]
    tracks: Tracks
    points: F64
    wrong: np.ndarray
    height_range: tuple[float, float]


def simulate_network(
    views: int,
    tracks_per_view: int,
    *,
    seed: int = 0,
    size: tuple[int, int] = (1500, 2000),
    shift_px: float = 4.0,
    drift_px: float = 0.0,
    noise_px: float = 0.2,
    wrong_share: float = 0.0,
    longest_track: int = 6,
) -> SimulatedNetwork:
    """A network of pushbroom views of one area, 0 to 30 degrees off nadir.

    shift_px, drift_px: largest error of the given cameras, of the whole image and from its centre to its edge.
    wrong_share of the observations, at most one a track, lie anywhere within 100 px of the truth.
    """
    rng = np.random.default_rng(seed)
    height_range = (_TARGET[2] - 2 * _RELIEF, _TARGET[2] + 2 * _RELIEF)
    exact = tuple(_camera(k, size, height_range) for k in range(views))
    longest = min(longest_track, views)
    n = max(2 * tracks_per_view * views // (2 + longest), 1)
    point, view = _visibility(rng, n, views, longest)
    points = _ground(rng, exact[0], size, n)
    xy = np.empty((len(point), 2))
    for v, camera in enumerate(exact):
        mine = view == v
        xy[mine] = np.stack(camera.project(*points[point[mine]].T), axis=1)
    xy += rng.normal(0.0, noise_px, xy.shape) if noise_px else 0.0
    first = np.searchsorted(point, np.arange(n))
    bad = first + rng.integers(0, np.bincount(point, minlength=n))
    bad = bad[rng.random(n) < wrong_share * len(point) / n]
    xy[bad] += rng.uniform(-100.0, 100.0, (len(bad), 2))
    wrong = np.zeros(len(point), bool)
    wrong[bad] = True
    names = tuple(f"v{k:03d}" for k in range(views))
    sensors = tuple(Sensor(name, _off(rng, c, size, shift_px, drift_px), *size) for name, c in zip(names, exact, strict=True))
    return SimulatedNetwork(exact, sensors, Tracks(names, n, point, view, xy), points, wrong, height_range)


@lru_cache(maxsize=64)
def _camera(k: int, size: tuple[int, int], height_range: tuple[float, float]) -> RPC:
    options = ViewOptions(incidence=2.0 + 28.0 * ((k * _GOLDEN) % 1.0), azimuth=(137.5 * k) % 360.0)
    return vendor_rpc(pushbroom(_TARGET, size, options), size, height_range)[0]


def _visibility(rng: np.random.Generator, n: int, views: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(point, view) of the observations: each point is seen by 2 to `longest` random views."""
    count = rng.integers(2, longest + 1, n)
    order = np.argsort(rng.random((n, views)), axis=1)
    chosen = np.zeros((n, views), bool)
    np.put_along_axis(chosen, order, np.arange(views) < count[:, None], axis=1)
    point, view = np.nonzero(chosen)
    return point, view


def _ground(rng: np.random.Generator, camera: RPC, size: tuple[int, int], n: int) -> F64:
    col, row = rng.uniform(0.1, 0.9, (2, n)) * np.array(size)[:, None]
    h = _TARGET[2] + rng.uniform(-0.5, 0.5, n) * _RELIEF
    return np.column_stack([*camera.localise(col, row, h), h])


def _off(rng: np.random.Generator, camera: RPC, size: tuple[int, int], shift_px: float, drift_px: float) -> RPC:
    """The camera with an error: exactly shifted, and stretched in its scales for a drift."""
    shift = rng.uniform(-shift_px, shift_px, 2)
    drift = rng.uniform(-drift_px, drift_px, 2)
    half = max(size) / 2
    scales = camera.scales * np.array([1 + drift[0] / half, 1 + drift[1] / half, 1, 1, 1])
    centre = (np.array(size) - 1) / 2
    offsets = camera.offsets.copy()
    offsets[:2] = centre + (camera.offsets[:2] - centre) * (1 + drift / half) + shift
    return RPC(offsets, scales, camera.poly)


def relative_errors(network: SimulatedNetwork, corrections: F64, samples: int = 300) -> F64:
    """(v, s, 2) px by which the corrected cameras miss the exact ones at sample points, after the move of the whole ground
    that fits best: what is left is the error of the views relative to each other."""
    step = max(len(network.points) // samples, 1)
    lon, lat, h = network.points[::step].T
    metres = np.array([1 / (111320 * np.cos(np.radians(_TARGET[1]))), 1 / 111320, 1.0])
    error, by_move = [], []
    for sensor, exact, correction in zip(network.sensors, network.exact, corrections, strict=True):
        size = np.array([sensor.width, sensor.height])
        camera = CorrectedCamera(sensor.camera, correction, (size - 1) / 2, size.max() / 2)
        error.append(np.stack(camera.project(lon, lat, h), 1) - np.stack(exact.project(lon, lat, h), 1))
        by_move.append(exact.jacobian(lon, lat, h) * metres)
    stacked, jac = np.array(error), np.array(by_move)
    move = np.linalg.lstsq(jac.reshape(-1, 3), stacked.ravel(), rcond=None)[0]
    return stacked - jac @ move
