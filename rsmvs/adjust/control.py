"""What ties the network to the ground: control points, and a reference DEM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rsmvs.adjust.tracks import Tracks
from rsmvs.types import F64

HeightOf = Callable[[F64, F64], F64]  # ellipsoidal height (m) at lon, lat (degrees); NaN where unknown


@dataclass(frozen=True)
class ControlPoint:
    """A ground point of known position: degrees, ellipsoidal metres, sigmas in metres (horizontal: each axis).

    seen: (view id, col, row), its measured positions in the images.
    """

    name: str
    lon: float
    lat: float
    h: float
    sigma_xy: float
    sigma_h: float
    seen: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class DemAnchor:
    """Heights of a reference surface, ellipsoidal, known to `sigma` (m)."""

    height_of: HeightOf
    sigma: float


def with_control(tracks: Tracks, control: Sequence[ControlPoint]) -> tuple[Tracks, list[ControlPoint]]:
    """Tracks with the control points that known views see appended as the last points, and those control points."""
    index = {v: i for i, v in enumerate(tracks.views)}
    used = sorted((c for c in control if any(v in index for v, _, _ in c.seen)), key=lambda c: c.name)
    rows = sorted((tracks.n + k, index[v], col, row) for k, c in enumerate(used) for v, col, row in c.seen if v in index)
    if not rows:
        return tracks, []
    point, view, col, row = (np.array(a) for a in zip(*rows, strict=True))
    return Tracks(
        tracks.views,
        tracks.n + len(used),
        np.concatenate([tracks.point, point]),
        np.concatenate([tracks.view, view]),
        np.concatenate([tracks.xy, np.column_stack([col, row])]),
    ), used


def ground_of(control: Sequence[ControlPoint]) -> tuple[F64, F64]:
    """(lon, lat, h) and (sigma_x, sigma_y, sigma_h) of control points, (k, 3) each."""
    known = np.array([[c.lon, c.lat, c.h] for c in control]).reshape(-1, 3)
    return known, np.array([[c.sigma_xy, c.sigma_xy, c.sigma_h] for c in control]).reshape(-1, 3)
