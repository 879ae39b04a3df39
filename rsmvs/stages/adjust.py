"""From images and given cameras to corrected cameras: tie points of each view, and their bundle adjustment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from shapely.geometry import Polygon

from rsmvs.adjust.control import ControlPoint, DemAnchor
from rsmvs.adjust.corrections import companion_camera, corrected_camera
from rsmvs.adjust.matching import MatchView, TiePoints, match_view
from rsmvs.adjust.network import adjust_network
from rsmvs.adjust.picture import residual_figure, residual_sample
from rsmvs.adjust.records import Network, Sensor
from rsmvs.adjust.tracks import tracks_of
from rsmvs.errors import CameraError, ManifestError
from rsmvs.geometry.viewing import convergence_angle, footprint
from rsmvs.io.dem import dem_heights
from rsmvs.io.ground_control import read_control
from rsmvs.io.manifests import atomic, line_of, write_text
from rsmvs.io.raster import read_image
from rsmvs.io.tiepoints import read_ties, write_points, write_ties
from rsmvs.io.views import read_views, write_views
from rsmvs.options import AdjustOptions, MatchOptions, ReferenceOptions
from rsmvs.stages.frozen import camera_mark, read_frozen
from rsmvs.types import View

MATCH_REVISION = 2
ADJUST_REVISION = 4

_REFIT_PX = 0.02  # a drift that no RPC follows better than this is left out


def match_views(
    views_json: str | Path,
    view_id: str,
    options: MatchOptions,
    out: str | Path,
    height_range: Sequence[float] | None = None,
    frozen: Collection[str] = (),
) -> None:
    """matches/{view}.npz: tie points of a view with the later views (by id) and the frozen ones that overlap it.

    height_range (m): of the scene; that of the cameras when absent. A pair without tie points is noted, never an error.
    """
    views = sorted(read_views(views_json), key=lambda v: v.id)
    if view_id not in {v.id for v in views}:
        raise ManifestError(views_json, f"holds no view '{view_id}'", "delete it and run again")
    view = next(v for v in views if v.id == view_id)
    heights = _heights(views, height_range)
    others = [v for v in views if v.id != view_id and (v.id > view_id or v.id in frozen)]
    partners = _partners(view, others, sum(heights) / 2, options.max_partners)
    ties = match_view(_match_view(view), [_match_view(p) for p in partners], heights, options)
    counts = np.bincount(ties.obs_partner, minlength=len(partners))
    for partner, count, note in zip(ties.partners, counts, ties.notes, strict=True):
        print(f"{view_id} - {partner}: {count} tie points" + (f" ({note})" if note else ""))
    if not partners:
        print(f"{view_id}: overlaps no view that it is to be matched with")
    names = {"partners": np.array(ties.partners, str), "notes": np.array(ties.notes, str)}
    arrays = {k: getattr(ties, k) for k in ("ref_xy", "obs_point", "obs_partner", "obs_xy", "obs_score")}
    write_ties(out, view=view_id, **names, **arrays)


def _match_view(view: View) -> MatchView:
    return MatchView(view.id, view.camera, view.width, view.height, partial(read_image, view))


def _heights(views: Sequence[View], height_range: Sequence[float] | None) -> tuple[float, float]:
    """The given range, else the heights for which at least half of the cameras are valid: one odd camera must not empty it."""
    if height_range is not None:
        return float(height_range[0]), float(height_range[1])
    ranges = np.array([v.camera.height_range for v in views])
    low, high = float(ranges[:, 0].max()), float(ranges[:, 1].min())
    return (low, high) if high > low else (float(np.median(ranges[:, 0])), float(np.median(ranges[:, 1])))


def _partners(view: View, others: Sequence[View], h: float, count: int) -> list[View]:
    """The others that overlap at height h (m), largest overlap first, then those that look from nearby."""
    own = _ground(view, h)
    shared = {o.id: own.intersection(_ground(o, h)).area / max(own.area, 1e-30) for o in others}
    seen = [o for o in others if shared[o.id] > 0]
    return sorted(seen, key=lambda o: (-round(shared[o.id], 1), convergence_angle(view, o), o.id))[:count]


def _ground(view: View, h: float) -> Polygon:
    try:
        return Polygon(footprint(view.camera, view.width, view.height, h)).buffer(0)
    except CameraError:
        return Polygon()


def adjust_views(
    views_json: str | Path,
    matches: Sequence[str | Path],
    options: AdjustOptions,
    out: str | Path,
    height_range: Sequence[float] | None = None,
    reference: ReferenceOptions | None = None,
) -> None:
    """adjusted/views.json: the views with corrected cameras and a report; beside it points.npz, residuals.json and .png.

    height_range (m) as in `match_views`; `reference` is needed for its DEM when options.dem_sigma anchors the heights.
    """
    views = sorted(read_views(views_json), key=lambda v: v.id)
    frozen = read_frozen(options.freeze, views)
    ties = [_ties(path) for path in matches]
    tracks = tracks_of(ties, [v.id for v in views])
    sensors = [Sensor(v.id, frozen.camera_of(v), v.width, v.height) for v in views]
    control = [ControlPoint(**record) for record in read_control(options.gcps)] if options.gcps else []
    dem = _anchor(views, options, reference)
    network = adjust_network(tracks, sensors, _heights(views, height_range), options, control, dem, set(frozen.views))
    corrected, errors = [], {}
    for view, correction in zip(views, network.corrections, strict=True):
        if view.id in frozen.views:
            corrected.append(frozen.keep(view))
            errors[view.id] = 0.0
            continue
        found, errors[view.id] = _corrected(view, correction, network.flags[view.id])
        corrected.append(found)
    report = _report(network, errors, options) | {"unmatched": _notes(ties)}
    for view in views:
        report["views"][view.id] |= {"given": camera_mark(view.camera), "batch": frozen.next_batch}
    out = Path(out)
    sample = residual_sample(network, sensors)
    write_text(out.with_name("residuals.json"), line_of(sample))
    with atomic(out.with_name("residuals.png")) as part:
        residual_figure(sample).savefig(part, format="png", dpi=100, metadata={"Software": None})
    points = _points(network) | {"batch": np.full(network.tracks.n, frozen.next_batch)}
    write_points(out.with_name("points.npz"), **(frozen.joined_points(points) if frozen.views else points))
    write_views(out, corrected, adjustment=frozen.joined_report(report) if frozen.views else report)
    _log(report)


def _ties(path: str | Path) -> TiePoints:
    a = read_ties(path)
    partners, notes = (tuple(map(str, a[k])) for k in ("partners", "notes"))
    pairs = a["obs_point"], a["obs_partner"], a["obs_xy"], a["obs_score"]
    return TiePoints(str(a["view"]), partners, a["ref_xy"], *pairs, notes)


def _anchor(views: Sequence[View], options: AdjustOptions, reference: ReferenceOptions | None) -> DemAnchor | None:
    if options.dem_sigma is None or reference is None or reference.dem is None:
        return None
    lon, lat = np.array([p for v in views for p in v.footprint]).T
    return DemAnchor(dem_heights(reference.dem, lon, lat, reference.dem_offset), options.dem_sigma)


def _corrected(view: View, correction: Any, flags: list[str]) -> tuple[View, float]:
    """The view with its corrected camera, and the error in px with which the camera follows the correction."""
    if not correction.any():
        return view, 0.0
    camera, error = None, np.inf
    try:
        camera, error = corrected_camera(view.camera, view.width, view.height, correction)
    except CameraError as problem:
        flags.append(f"drift left out: {problem.cause}")
    if camera is None or error > _REFIT_PX:
        if camera is not None:
            flags.append(f"drift left out: a new RPC follows it to {error:.3f} px only")
        camera, error = view.camera.shifted(float(-correction[0]), float(-correction[1])), float(np.abs(correction[2:]).max())
    colour = view.colour_camera
    if colour is not None:
        colour = companion_camera(view.camera, colour, view.width, view.height, correction)
    return replace(view, camera=camera, colour_camera=colour), error


def _points(network: Network) -> dict[str, Any]:
    t = network.tracks
    squares = np.bincount(t.point, np.sum(network.after**2, axis=1), minlength=t.n)
    seen = np.bincount(t.point, minlength=t.n)
    lon, lat, h = network.points.T
    residual = np.sqrt(squares / np.maximum(seen, 1))
    return {"lon": lon, "lat": lat, "h": h, "n_views": seen, "residual": residual, "sigma_h": network.sigma_h}


def _notes(ties: Sequence[TiePoints]) -> list[list[str]]:
    """[view, partner, why] of the pairs without tie points."""
    return sorted([t.view, p, note] for t in ties for p, note in zip(t.partners, t.notes, strict=True) if note)


def _report(network: Network, errors: dict[str, float], options: AdjustOptions) -> dict[str, Any]:
    t = network.tracks
    shared = t.shared()
    pairs = [[a, b, int(shared[i, j])] for (i, a), (j, b) in combinations(enumerate(t.views), 2) if shared[i, j]]
    views = {}
    for v, name in enumerate(network.views):
        mine, c = t.view == v, network.corrections[v]
        views[name] = {
            "shift_px": _rounded(c[:2]),
            "drift_px": _rounded(c[2:]),
            "camera_error_px": float(f"{errors[name]:.2g}"),
            "observations": int(mine.sum()),
            "rejected": int(network.rejected[v]),
            "before": _statistics(network.before[mine]),
            "after": _statistics(network.after[mine]),
            "flags": network.flags[name],
        }
    return {
        "mode": options.mode,
        "tracks": t.n,
        "tracks_by_views": {str(k): n for k, n in sorted(Counter(np.bincount(t.point).tolist()).items())} if t.n else {},
        "before": _statistics(network.before),
        "after": _statistics(network.after),
        "moved_m": _rounded(network.moved),
        "control_m": {name: _rounded(np.array(off)) for name, off in sorted(network.control.items())},
        "pairs": pairs,
        "views": views,
    }


def _statistics(residual: Any) -> dict[str, float] | None:
    """Median and RMS length (px) of residuals (m, 2); None without any."""
    if len(residual) == 0:
        return None
    length = np.linalg.norm(residual, axis=1)
    return {"median_px": round(float(np.median(length)), 4), "rms_px": round(float(np.sqrt(np.mean(length**2))), 4)}


def _rounded(values: Any) -> list[float]:
    return [round(float(v), 4) + 0.0 for v in values]


def _log(report: dict[str, Any]) -> None:
    print(f"{report['tracks']} tracks; moved by {report['moved_m']} m on average")
    for name, view in report["views"].items():
        before, after = (view[k]["median_px"] if view[k] else float("nan") for k in ("before", "after"))
        print(f"{name}: {view['observations']} points, median residual {before:.3f} to {after:.3f} px, shift {view['shift_px']}"
              + "".join(f"; {flag}" for flag in view["flags"]))  # fmt: skip
