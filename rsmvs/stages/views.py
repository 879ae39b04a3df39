"""The images and their cameras, from files to the plan of each tile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer
from shapely.geometry import MultiPoint, Polygon, box

from rsmvs.config import area_polygon, area_tiles
from rsmvs.errors import ConfigError, CoverageError
from rsmvs.geometry.viewing import convergence_angle, footprint, mid_height, viewing_angles
from rsmvs.io.image_checks import acquisition, band_weights, check_holds_data, check_whole
from rsmvs.io.manifests import atomic, write_json
from rsmvs.io.raster import opened
from rsmvs.io.rpc_files import find_camera
from rsmvs.io.views import read_views, view_to_dict, write_views
from rsmvs.options import AdjustOptions, AreaOptions, ImageOptions, MatchOptions, ReferenceOptions, SelectOptions
from rsmvs.types import Camera, View


def describe_image(options: ImageOptions, height: float | None = None) -> View:
    """The record of one image: camera, footprint and angles at ellipsoidal `height` (m; the camera's mid height).

    Raises ImageError for a file that is missing, truncated or empty, CameraError for one without a usable camera.
    """
    with opened(options.path) as image:
        camera, source = find_camera(options.path, image, options.camera)
        check_whole(options.path, image)
        nodata = options.nodata if options.nodata is not None else image.nodata
        check_holds_data(options.path, image, nodata)
        date, sun = acquisition(image)
        weights, _ = band_weights(options.path, image, options.weights)
        width, rows = image.width, image.height
    angles = viewing_angles(camera, width, rows, height)
    return View(
        id=options.id or Path(options.path).stem,
        path=options.path,
        camera=camera,
        camera_source=source,
        width=width,
        height=rows,
        nodata=nodata,
        weights=weights,
        date=options.date or date,
        sun=sun,
        incidence=angles.incidence,
        azimuth=angles.azimuth,
        gsd=angles.gsd,
        footprint=footprint(camera, width, rows, height),
        fingerprint=" ".join(_fingerprint(p) for p in (options.path, *options.masks)),
        masks=options.masks,
        colour=options.colour,
        colour_camera=_colour_camera(options),
    )


def _colour_camera(options: ImageOptions) -> Camera | None:
    if options.colour is None:
        return None
    with opened(options.colour) as image:
        return find_camera(options.colour, image, options.colour_camera)[0]


def index_views(images: Sequence[ImageOptions], area: AreaOptions, out: str | Path) -> None:
    """views.json: a record of every image, after all that can be wrong with it has been checked.

    Raises ImageError, CameraError, ConfigError for one image, CoverageError where images and area do not meet.
    """
    if len(images) < 2:
        raise ConfigError("images", f"{len(images)} given", "give at least two images of the area")
    views = [describe_image(image) for image in images]
    ground = _in_degrees(area)
    for view in views:
        if not ground.intersects(_reach(view)):
            raise CoverageError(
                view.path,
                f"its camera ({view.camera_source}) does not see the area of interest",
                "check area.aoi and area.crs, or leave it out",
            )
    seen = [_reach(view).intersection(ground) for view in views]
    if not any(a.intersects(b) for i, a in enumerate(seen) for b in seen[:i]):
        raise CoverageError("images", "no two of them overlap within the area of interest", "add images, or check area.aoi")
    write_views(out, views)


def match_views(views_json: str | Path, view_id: str, options: MatchOptions, out: str | Path) -> None:
    """Tie points of one view: none yet, cameras are taken as they come. Says so, and writes an empty list."""
    print(f"{view_id}: cameras are used as delivered, no tie points are measured")
    with atomic(out) as part, part.open("wb") as file:
        np.savez(file, revision=1, view=view_id)


def adjust_views(views_json: str | Path, matches: Sequence[str | Path], options: AdjustOptions, out: str | Path) -> None:
    """adjusted/views.json: the views with their cameras unchanged, and a report that says so."""
    write_views(out, read_views(views_json), adjustment={"mode": "none", "why": "cameras are used as delivered"})


def select_views(
    views_json: str | Path, area: AreaOptions, options: SelectOptions, reference: ReferenceOptions, out: str | Path
) -> None:
    """plan.json, and tiles/{tile}/plan.json beside it: ranked view sets per tile, or why there are none.

    A tile's plan holds all that its jobs need, so that one that stays the same re-runs nothing.
    """
    views = read_views(views_json)
    out = Path(out)
    plans = [_plan(tile.name, tile.bounds, views, area, options) for tile in area_tiles(area)]
    if not any(plan["sets"] for plan in plans):
        raise CoverageError("images", f"no tile can be matched ({plans[0]['reason']})", "add images, or widen 'select'")
    for plan in plans:
        write_json(out.parent / "tiles" / plan["tile"] / "plan.json", plan)
    write_json(out, {"revision": 1, "tiles": [{k: v for k, v in plan.items() if k != "views"} for plan in plans]})


def _plan(name: str, bounds: Any, views: list[View], area: AreaOptions, options: SelectOptions) -> dict[str, Any]:
    core = box(*bounds)
    ground = _ring_in_degrees(area.crs, core)
    share = {v.id: _polygon(v).intersection(ground).area / ground.area for v in views}
    usable = [v for v in views if share[v.id] >= options.min_overlap]
    sets = []
    for ref in usable:
        angles = {v.id: convergence_angle(ref, v) for v in usable if v is not ref}
        sources = sorted(i for i, a in angles.items() if options.min_angle <= a <= options.max_angle)[: options.max_sources]
        if sources:
            score = share[ref.id] * min(share[s] for s in sources)
            sets.append({"reference": ref.id, "sources": sources, "score": score, "why": "all pairs by overlap and angle"})
    sets = sorted(sets, key=lambda s: (-s["score"], s["reference"]))[: options.max_sets]
    used = {s["reference"] for s in sets} | {i for s in sets for i in s["sources"]}
    height_range = area.height_range or (
        max(v.camera.height_range[0] for v in views),
        min(v.camera.height_range[1] for v in views),
    )
    return {
        "revision": 1,
        "tile": name,
        "bounds": list(bounds),
        "status": "ok" if sets else "empty",
        "reason": ""
        if sets
        else ("fewer than two views see it" if len(usable) < 2 else "no pair has a usable convergence angle"),
        "height_range": list(height_range),
        "sets": sets,
        "views": [view_to_dict(v) for v in views if v.id in used],
    }


def _fingerprint(path: str) -> str:
    """Size and modification time of a local file; empty for a remote one."""
    file = Path(path)
    return f"{file.stat().st_size}-{file.stat().st_mtime_ns}" if file.is_file() else ""


def _polygon(view: View) -> Polygon:
    return Polygon(view.footprint)


def _reach(view: View) -> Polygon:
    """All ground (longitude, latitude) that the view can see at any height for which its camera is valid."""
    heights = (*view.camera.height_range, mid_height(view.camera))
    points = [p for h in heights for p in footprint(view.camera, view.width, view.height, h)]
    return MultiPoint(points).convex_hull


def _in_degrees(area: AreaOptions) -> Polygon:
    ring = area_polygon(area)
    return _ring_in_degrees(area.crs, box(*ring) if isinstance(ring, tuple) else Polygon(ring))


def _ring_in_degrees(crs: str, polygon: Polygon) -> Polygon:
    ring = polygon.segmentize(max(polygon.length / 64, 1.0)).exterior.coords
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*np.transpose(ring))
    return Polygon(np.column_stack([lon, lat]))
