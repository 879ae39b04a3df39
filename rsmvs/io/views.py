"""View records in JSON manifests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rsmvs.errors import ImageError, ManifestError
from rsmvs.io.manifests import read_json, write_json
from rsmvs.types import View

REVISION = 2


def fingerprint(*paths: str | Path) -> str:
    """Size and modification time of local files; remote ones have none."""
    stamps = (p.stat() if (p := Path(path)).is_file() else None for path in paths)
    return " ".join(f"{s.st_size}-{s.st_mtime_ns}" for s in stamps if s is not None)


def check_unchanged(view: View) -> None:
    """ImageError when an image or a mask is no longer the file that was indexed: results would mix two images."""
    if view.fingerprint and fingerprint(view.path, *view.masks) != view.fingerprint:
        cause = "or a mask of it has changed since it was indexed"
        raise ImageError(view.path, cause, "run again: what it touches is made anew")


def view_to_dict(view: View) -> dict[str, Any]:
    values = {f.name: getattr(view, f.name) for f in dataclasses.fields(view)}
    colour = view.colour_camera.to_dict() if view.colour_camera is not None else None
    return values | {"camera": view.camera.to_dict(), "colour_camera": colour}


def view_from_dict(values: dict[str, Any], where: object) -> View:
    """Inverse of `view_to_dict`; `where` names the manifest in errors."""
    from rsmvs.geometry.camera import camera_from_dict  # numba: jobs that read no views start in half the time

    try:
        record = {f.name: values[f.name] for f in dataclasses.fields(View)}
    except KeyError as error:
        raise ManifestError(where, f"a view record lacks {error}", "delete it and run again") from None
    for name in ("weights", "sun", "masks"):
        record[name] = tuple(record[name]) if record[name] is not None else None
    record["footprint"] = tuple((lon, lat) for lon, lat in record["footprint"])
    for name in ("camera", "colour_camera"):
        if record[name] is not None:
            record[name] = camera_from_dict(record[name], f"{where}, view {record['id']}")
    return View(**record)


def write_views(path: str | Path, views: list[View], **more: Any) -> None:
    """views.json: the records sorted by id, and further sections such as the adjustment's report."""
    records = [view_to_dict(v) for v in sorted(views, key=lambda v: v.id)]
    write_json(path, {"revision": REVISION, "views": records, **more})


def read_views(path: str | Path) -> list[View]:
    content = read_json(path)
    if content.get("revision") != REVISION:
        raise ManifestError(path, f"has revision {content.get('revision')}, not {REVISION}", "delete it and run again")
    return [view_from_dict(v, path) for v in content["views"]]


def read_batches(path: str | Path) -> dict[str, int]:
    """With which addition to the area each view of an adjusted views.json came, from 0; empty without an adjustment."""
    report = read_json(path).get("adjustment") or {}
    return {name: int(view.get("batch", 0)) for name, view in report.get("views", {}).items()}


def read_shared_ties(path: str | Path) -> dict[tuple[str, str], float]:
    """How many of its tie points a view shares with another, 0 ... 1, by pair (ids sorted), of an adjusted views.json.

    Of the two views of a pair, the one with fewer tie points counts: how many a view has depends on how many other
    views it was matched with. Empty without an adjustment.
    """
    report = read_json(path).get("adjustment") or {}
    total = {name: view["observations"] for name, view in report.get("views", {}).items()}
    return {(min(a, b), max(a, b)): min(n / min(total[a], total[b]), 1.0) for a, b, n in report.get("pairs", [])}
