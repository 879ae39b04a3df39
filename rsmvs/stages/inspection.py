"""What images are, and whether their cameras can be trusted: the doctor's look before a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from shapely.geometry import MultiPoint

from rsmvs.errors import RsmvsError
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.rpc_fit import monomials
from rsmvs.geometry.viewing import convergence_angle
from rsmvs.io.image_checks import band_weights
from rsmvs.io.product_level import product_level
from rsmvs.io.raster import opened, usable_at
from rsmvs.io.rpc_files import find_cameras
from rsmvs.io.sidecars import read_sidecar
from rsmvs.options import ImageOptions
from rsmvs.planning import days_between
from rsmvs.stages.views import describe_image
from rsmvs.types import F64, Camera, View

_PLACES = 9  # per side of the image at which cameras are tried
_LOOKED_AT = 40  # pixels per side at which data and masks are looked up
_ROUND_TRIP_PX = 1e-6


def inspect_images(paths: Sequence[str], camera: str | None = None, height: float | None = None) -> dict[str, Any]:
    """Facts and warnings of each image, and of their pairs, in JSON types. `camera`: file of every image's camera;
    height (ellipsoidal m): at which footprint and angles hold, the middle of the camera's range when absent.

    An image that cannot be used is reported with its error; nothing is raised.
    """
    images, views = [], []
    for path in paths:
        options = ImageOptions(path=path, camera=camera)
        try:
            with opened(path) as dataset:
                facts = _file_facts(path, dataset, camera)
            view = describe_image(options, height)
        except RsmvsError as error:
            images.append({"path": path, "error": str(error)})
            continue
        views.append(view)
        images.append(facts | _view_facts(view, facts.pop("cameras_found")))
    return {"images": images, "pairs": [_pair(a, b) for a, b in combinations(views, 2)]}


def _file_facts(path: str, dataset: Any, camera: str | None) -> dict[str, Any]:
    cameras = list(find_cameras(path, dataset, camera))
    level = product_level(path, dataset, cameras[0][0] if cameras else None)
    sidecar = read_sidecar(path)
    return {
        "path": path, "format": dataset.driver, "width": dataset.width, "height": dataset.height, "bands": dataset.count,
        "type": dataset.dtypes[0], "matching_image": band_weights(path, dataset)[1],
        "level": level.name, "level_why": level.why,
        "clouds_percent": _number(sidecar.values.get("cloud")) if sidecar else None, "cameras_found": cameras,
    }  # fmt: skip


def _view_facts(view: View, cameras: Sequence[tuple[Camera, str]]) -> dict[str, Any]:
    lon, lat = (list(c) for c in zip(*view.footprint, strict=True))
    facts = {
        "id": view.id, "camera": view.camera.kind, "camera_source": view.camera_source,
        "other_cameras": [{"source": s, "largest_difference_px": _difference(view, c)} for c, s in cameras[1:]],
        "round_trip_px": _round_trip(view), "height_range": list(view.camera.height_range), "nodata": view.nodata,
        "usable_share": _usable_share(view), "gsd": view.gsd, "incidence": view.incidence, "azimuth": view.azimuth,
        "sun": view.sun and list(view.sun), "date": view.date, "footprint": [list(p) for p in view.footprint],
        "bounds": [min(lon), min(lat), max(lon), max(lat)],
    }  # fmt: skip
    return facts | {"warnings": _warnings(view, facts)}


def _grid(view: View) -> tuple[F64, F64, F64]:
    cols, rows = (np.linspace(0, n - 1, _PLACES) for n in (view.width, view.height))
    c, r, h = np.meshgrid(cols, rows, np.linspace(*view.camera.height_range, 5))
    return c.ravel(), r.ravel(), h.ravel()


def _round_trip(view: View) -> float:
    """Largest error (px) of project(localise(pixel)) over image and height range; inf where a pixel has no ground."""
    c, r, h = _grid(view)
    u, v = view.camera.project(*view.camera.localise(c, r, h), h)
    error = np.hypot(u - c, v - r)
    return float(error.max()) if np.isfinite(error).all() else float("inf")


def _difference(view: View, other: Camera) -> float:
    """Largest distance (px) of where two cameras of an image see the same ground."""
    c, r, h = _grid(view)
    u, v = other.project(*view.camera.localise(c, r, h), h)
    return round(float(np.nan_to_num(np.hypot(u - c, v - r), nan=np.inf).max()), 4)


def _usable_share(view: View) -> float:
    cols, rows = (np.linspace(0, n - 1, min(_LOOKED_AT, n)).round() for n in (view.width, view.height))
    c, r = (a.ravel() for a in np.meshgrid(cols, rows))
    return round(float(usable_at(view, c, r).mean()), 4)


def _warnings(view: View, facts: dict[str, Any]) -> list[str]:
    found = []
    if facts["round_trip_px"] > _ROUND_TRIP_PX:
        found.append(f"the camera does not round-trip: {facts['round_trip_px']:.2g} px")
    for other in facts["other_cameras"]:
        if other["largest_difference_px"] > 0.01:
            found.append(f"{other['source']} disagrees by {other['largest_difference_px']:g} px; the first source is used")
    if isinstance(view.camera, RPC):
        found += _rpc_warnings(view, view.camera)
    if facts["usable_share"] < 0.9:
        found.append(f"{100 * (1 - facts['usable_share']):.0f} % of the image are without data or masked")
    if view.incidence > 40:
        found.append(f"seen {view.incidence:.0f} degrees from the vertical: much of the ground is hidden")
    if view.date is None:
        found.append("no acquisition date: set 'date', or view selection cannot tell dates apart")
    return found


def _rpc_warnings(view: View, rpc: RPC) -> list[str]:
    found = []
    c, r, h = _grid(view)
    place = [(a - o) / s for a, o, s in zip((c, r), rpc.offsets[:2], rpc.scales[:2], strict=True)]
    if max(float(np.abs(p).max()) for p in place) > 1.05:
        found.append("pixels lie outside the range that the RPC was made for: a crop without its offset, or another image's?")
    lon, lat = rpc.localise(c, r, h)
    ground = [(a - o) / s for a, o, s in zip((lon, lat, h), rpc.offsets[2:], rpc.scales[2:], strict=True)]
    denominators = monomials(*ground) @ rpc.poly[[1, 3]].T
    if np.isfinite(denominators).all() and (np.abs(denominators).min(axis=0) < 0.2 * np.abs(denominators).max(axis=0)).any():
        found.append("a denominator of the RPC comes near zero inside the image: it is not to be trusted there")
    return found


def _pair(a: View, b: View) -> dict[str, Any]:
    days = days_between(a, b)
    overlap = MultiPoint(a.footprint).convex_hull.intersects(MultiPoint(b.footprint).convex_hull)
    record = {"images": [a.path, b.path], "ids": [a.id, b.id], "convergence_angle": round(convergence_angle(a, b), 3)}
    return record | {"overlap": bool(overlap), "days": None if days is None else round(days, 3)}


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
