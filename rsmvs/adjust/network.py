"""The bundle adjustment: from tracks over all views to a correction per view. The work is done in `solver`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rsmvs.adjust.control import ControlPoint, DemAnchor
from rsmvs.adjust.records import Network, Sensor
from rsmvs.adjust.solver import Solver
from rsmvs.adjust.tracks import Tracks
from rsmvs.options import AdjustOptions


def adjust_network(
    tracks: Tracks,
    sensors: Sequence[Sensor],
    height_range: tuple[float, float],
    options: AdjustOptions,
    control: Sequence[ControlPoint] = (),
    dem: DemAnchor | None = None,
    fixed: Collection[str] = (),
) -> Network:
    """Adjust all views at once. height_range (m): coarse; points far outside are wrong matches. fixed: ids of views whose
    cameras stay as they are and hold the others.

    Never fails for lack of tracks: views that cannot be adjusted keep their cameras and say why in `flags`.
    """
    solver = Solver(tracks, sorted(sensors, key=lambda s: s.id), height_range, options, control, dem, fixed)
    solver.intersect()
    if options.mode != "none":
        solver.solve()
        while solver.drop_weak_views():
            solver.solve()
        if options.mode in ("auto", "affine"):
            solver.try_drift()
        solver.fix_gauge()
    return solver.result()
