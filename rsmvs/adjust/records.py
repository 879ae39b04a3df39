"""What goes into a bundle adjustment and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rsmvs.adjust.tracks import Tracks
from rsmvs.types import F64, Camera


class Sensor(NamedTuple):
    """A view as the adjustment sees it; width and height of its image in px."""

    id: str
    camera: Camera
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Network:
    """Result. views (v,) sorted ids; corrections (v, 6) px as in `bundle`; flags by view id.

    tracks: what was kept, points (n, 3) lon, lat, h of it, sigma_h (n,) m formal; before, after (m, 2): residuals, px,
    with the given and with the corrected cameras; rejected (v,): observations that were thrown out; control: residuals
    by control point, east, north, up in m.
    """

    views: tuple[str, ...]
    corrections: F64
    flags: dict[str, list[str]]
    tracks: Tracks
    points: F64
    sigma_h: F64
    before: F64
    after: F64
    rejected: np.ndarray
    control: dict[str, tuple[float, float, float]]
    moved: F64  # (3,) mean move of the kept points, weighted by their accuracy, m
