"""View records in JSON manifests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rsmvs.errors import ManifestError
from rsmvs.geometry.camera import camera_from_dict
from rsmvs.io.manifests import read_json, write_json
from rsmvs.types import View

REVISION = 2


def view_to_dict(view: View) -> dict[str, Any]:
    values = {f.name: getattr(view, f.name) for f in dataclasses.fields(view)}
    colour = view.colour_camera.to_dict() if view.colour_camera is not None else None
    return values | {"camera": view.camera.to_dict(), "colour_camera": colour}


def view_from_dict(values: dict[str, Any], where: object) -> View:
    """Inverse of `view_to_dict`; `where` names the manifest in errors."""
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


def read_shared_ties(path: str | Path) -> dict[tuple[str, str], float]:
    """How many of its tie points a view shares with another, 0 ... 1, by pair (ids sorted), of an adjusted views.json.

    Of the two views of a pair, the one with fewer tie points counts: how many a view has depends on how many other
    views it was matched with. Empty without an adjustment.
    """
    report = read_json(path).get("adjustment") or {}
    total = {name: view["observations"] for name, view in report.get("views", {}).items()}
    return {(min(a, b), max(a, b)): n / min(total[a], total[b]) for a, b, n in report.get("pairs", [])}
