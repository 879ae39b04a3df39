"""The images and their cameras, from files to the plan of each tile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer
from shapely.geometry import MultiPoint, Polygon, box

from rsmvs.config import area_polygon, area_tiles
from rsmvs.errors import CameraError, ConfigError, CoverageError, ImageError
from rsmvs.geometry.viewing import footprint, mid_height, viewing_angles
from rsmvs.io.image_checks import acquisition, band_weights, check_holds_data, check_whole
from rsmvs.io.manifests import line_of, write_json, write_text
from rsmvs.io.product_level import ORTHO, product_level
from rsmvs.io.raster import opened
from rsmvs.io.rpc_files import find_camera, find_cameras
from rsmvs.io.views import fingerprint, read_batches, read_shared_ties, read_views, write_views
from rsmvs.options import AreaOptions, ImageOptions, ReferenceOptions, SelectOptions
from rsmvs.stages.plan_picture import draw_plan, drawn_part
from rsmvs.stages.plans import Scene, plan_tile, sparse_points
from rsmvs.types import Camera, View


def describe_image(options: ImageOptions, height: float | None = None) -> View:
    """The record of one image: camera, footprint and angles at ellipsoidal `height` (m; the camera's mid height).

    Raises ImageError for a file that is missing, truncated, empty or an orthoimage, CameraError for one without a
    usable camera.
    """
    stamp = fingerprint(options.path, *options.masks)  # before it is read: what is exchanged meanwhile shall be noticed
    with opened(options.path) as image:
        camera, source = _usable_camera(options, image)
        check_whole(options.path, image)
        nodata = options.nodata if options.nodata is not None else image.nodata
        check_holds_data(options.path, image, nodata)
        date, sun = acquisition(options.path, image)
        weights, _ = band_weights(options.path, image, options.weights)
        width, rows = image.width, image.height
    with _blaming(options.path, source):
        angles, outline = viewing_angles(camera, width, rows, height), footprint(camera, width, rows, height)
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
        footprint=outline,
        fingerprint=stamp,
        masks=options.masks,
        colour=options.colour,
        colour_camera=_colour_camera(options),
    )


def _usable_camera(options: ImageOptions, image: Any) -> tuple[Camera, str]:
    """The camera of an opened image and where it was found; ImageError for an orthoimage, which has no parallax."""
    found = next(find_cameras(options.path, image, options.camera), None)
    level = product_level(options.path, image, found[0] if found else None)
    if level.name == ORTHO and options.level == "auto":
        remedy = "use the sensor or the ortho-ready product, or name its 'level' in the configuration if this is wrong"
        raise ImageError(options.path, f"is an orthoimage, without parallax ({level.why})", remedy)
    return found or find_camera(options.path, image, options.camera)


@contextmanager
def _blaming(path: str, source: str) -> Iterator[None]:
    """Name the image and its camera in the errors of geometry, which knows no files."""
    try:
        yield
    except CameraError as error:
        raise CameraError(path, f"its camera ({source}) {error.cause}", error.remedy) from None


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


def select_views(
    views_json: str | Path, area: AreaOptions, options: SelectOptions, reference: ReferenceOptions, out: str | Path
) -> None:
    """plan.json, plan.png and tiles/{tile}/plan.json beside it: ranked view sets per tile, or why there are none.

    A tile's plan holds what its jobs need and no more, so that one that stays the same re-runs nothing. The reasons,
    which change with every tie point, are in plan.json.
    """
    views, out = read_views(views_json), Path(out)
    points = sparse_points(Path(views_json).with_name("points.npz"), area.crs)
    ties, batches = read_shared_ties(views_json), read_batches(views_json)
    scene = Scene.of(views, points, batches, ties, area, options, reference)
    told, drawn, reason = [], [], ""  # of all tiles, no more than is needed: there may be ten thousand
    for tile in area_tiles(area):
        plan, _ = plan_tile(tile, scene)
        write_json(out.parent / "tiles" / plan["tile"] / "plan.json", _for_jobs(plan))
        told.append(line_of({k: v for k, v in plan.items() if k != "views"}))
        drawn.append(drawn_part(plan))
        reason = reason or plan["reason"]
    if not any(plan["sets"] for plan in drawn):
        raise CoverageError("images", f"no tile can be matched ({reason})", "add images, or widen 'select'")
    write_text(out, '{"revision": 1, "tiles": [\n' + ",\n".join(told) + "\n]}\n")
    draw_plan(drawn, views, area.crs, out.with_suffix(".png"))


def _for_jobs(plan: dict[str, Any]) -> dict[str, Any]:
    """The part of a tile's plan that its results depend on."""
    sets = [{"reference": s["reference"], "sources": s["sources"]} for s in plan["sets"]]
    return {k: plan[k] for k in ("revision", "tile", "bounds", "status", "reason", "height_range", "views")} | {"sets": sets}


def _reach(view: View) -> Polygon:
    """All ground (longitude, latitude) that the view can see at any height for which its camera is valid."""
    heights = (*view.camera.height_range, mid_height(view.camera))
    with _blaming(view.path, view.camera_source):
        points = [p for h in heights for p in footprint(view.camera, view.width, view.height, h)]
    return MultiPoint(points).convex_hull


def _in_degrees(area: AreaOptions) -> Polygon:
    ring = area_polygon(area)
    return _ring_in_degrees(area.crs, box(*ring) if isinstance(ring, tuple) else Polygon(ring))


def _ring_in_degrees(crs: str, polygon: Polygon) -> Polygon:
    ring = polygon.segmentize(max(polygon.length / 64, 1.0)).exterior.coords
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*np.transpose(ring))
    return Polygon(np.column_stack([lon, lat]))
