"""report.html: one file that shows what a run made, how, and how good it is; it needs no network.

This module makes the data of the page; the page itself (the folder page beside it) draws them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from rsmvs.evaluation.pictures import RGB
from rsmvs.geometry.viewing import footprint
from rsmvs.io.layers import ALL, SIDE_FILES
from rsmvs.io.raster import encoded_picture
from rsmvs.types import View

_EMPTY = 65535  # of the grid of heights
_SCRIPTS = ("core", "swipe", "solid", "views", "scores", "origin")  # in the order in which they run


def render(data: Mapping[str, Any], timings: Sequence[Mapping[str, Any]] = ()) -> str:
    """The page with its data. Times, which no two runs share, stand in an element of their own (id `timings`)."""
    folder = resources.files("rsmvs.evaluation").joinpath("page")
    page = folder.joinpath("page.html").read_text().replace("/*STYLE*/", folder.joinpath("page.css").read_text())
    page = page.replace("/*SCRIPT*/", "\n".join(folder.joinpath(f"{name}.js").read_text() for name in _SCRIPTS))
    for place, content in (("/*DATA*/", data), ("/*TIMINGS*/", list(timings))):
        text = json.dumps(content, sort_keys=True, allow_nan=False, separators=(",", ":"))
        page = page.replace(place, text.replace("</", "<\\/"))  # data cannot end the script
    return page


def data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def height_grid(heights: Any, step: float) -> dict[str, Any]:
    """Heights (h, w) in metres, NaN without, as 16-bit steps for the profile and the view in three dimensions."""
    heights = np.asarray(heights, np.float64)
    known = np.isfinite(heights)
    low, high = (float(heights[known].min()), float(heights[known].max())) if known.any() else (0.0, 1.0)
    unit = max((high - low) / (_EMPTY - 1), 1e-3)
    middle = float(np.median(heights[known])) if known.any() else 0.0
    values = np.where(known, np.round((np.nan_to_num(heights) - low) / unit), _EMPTY).astype("<u2")
    return {
        "width": heights.shape[1],
        "height": heights.shape[0],
        "step": step,
        "low": low,
        "unit": unit,
        "middle": middle,
        "up": max(high - middle, middle - low),
        "data": base64.b64encode(values.tobytes()).decode(),
    }


def layer_row(name: str, rgb: RGB, legend: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A picture of the page, with its legend (`scale` or `names`) where it needs one; codes keep sharp edges."""
    kind = "png" if legend and "codes" in legend else "jpeg"
    return {"name": name, "src": data_uri(encoded_picture(rgb, {"png": ".png", "jpeg": ".jpg"}[kind]), kind), "legend": legend}


def scale(colours: Any, low: float, high: float, unit: str = "m") -> dict[str, Any]:
    """Legend of colours (k, 3) from low to high."""
    digits = 0 if high - low >= 10 else 1
    return {"colours": [_hex(c) for c in colours], "low": f"{low:.{digits}f}", "high": f"{high:.{digits}f} {unit}".strip()}


def names(layer: Any) -> dict[str, Any]:
    """Legend of a layer of codes."""
    return {"codes": [[code.name, _hex(code.colour)] for code in layer.codes]}


def _hex(colour: Any) -> str:
    return "#{:02x}{:02x}{:02x}".format(*(int(c) for c in colour))


def class_picture(labels: Any, layer: Any) -> RGB:
    """A raster of codes (h, w) in the colours of its layer; white where it says nothing."""
    out = np.full((*np.shape(labels), 3), 255, np.uint8)
    for code in layer.codes:
        out[labels == code.value] = code.colour
    return out


def cards(
    ledger: Mapping[str, Any], views: Sequence[View], step: float, metrics: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """Label and value of the main figures."""
    counts = ledger["counts"]
    found = [
        ("images", str(len(views))),
        ("cell size", f"{step:g} m"),
        ("cells with a height", f"{ledger['completeness']:.1f} %"),
        ("points", f"{ledger['points']:,}"),
        ("tiles: ok, empty, failed", f"{counts['ok']}, {counts['empty']}, {counts['failed']}"),
    ]
    best = (metrics or {}).get("aligned") or (metrics or {}).get("raw")
    if best and best["rmse"] is not None:
        found += [("errors under 1 m (PAG)", f"{best['pag_1.0']:.1f} %"), ("RMSE, aligned", f"{best['rmse']:.2f} m")]
    return found


def view_rows(views: Sequence[View], to_map: Any, ground: float) -> list[dict[str, Any]]:
    """The views for the map and the table; to_map: (lon, lat) degrees to (x, y) metres; ground: height (m) there."""
    rows = []
    for view in views:
        x, y = to_map(*np.array(footprint(view.camera, view.width, view.height, ground)).T)
        rows.append(
            {
                "id": view.id,
                "date": view.date,
                "gsd": view.gsd,
                "incidence": view.incidence,
                "azimuth": view.azimuth,
                "camera": view.camera_source.rsplit("/", 1)[-1],
                "footprint": [[round(float(a), 1), round(float(b), 1)] for a, b in zip(x, y, strict=True)],
            }
        )
    return rows


def tile_rows(ledger: Mapping[str, Any], plan: Mapping[str, Any], views: Sequence[str]) -> list[dict[str, Any]]:
    """The tiles with what became of them, the heights that were searched, and the views (by place in `views`) that serve them.

    sets: [reference, [sources]], the best reference first.
    """
    place, rows = {name: i for i, name in enumerate(views)}, []
    for tile in plan["tiles"]:
        end, searched = ledger["tiles"][tile["tile"]], tile.get("height_range")
        span = f"{searched[0]:.0f} to {searched[1]:.0f}" if searched else ""
        sets = [[place[s["reference"]], [place[v] for v in s["sources"]]] for s in tile.get("sets", [])]
        named = {"tile": tile["tile"], "bounds": tile["bounds"], "range": span, "source": tile.get("height_source") or ""}
        rows.append({**named, "sets": sets, **end})
    return rows


def pair_rows(plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Score and convergence angle of each pair of views, means over the tiles that rate it."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for tile in plan["tiles"]:
        for pair in tile.get("pairs", []):
            found.setdefault(tuple(sorted(pair["views"])), []).append((pair["score"], pair["angle"]))
    means = {views: np.mean(values, axis=0) for views, values in found.items()}
    return [{"views": list(v), "score": float(m[0]), "angle": float(m[1])} for v, m in sorted(means.items())]


def adjustment_rows(report: Mapping[str, Any] | None, residuals: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the adjustment says of each view, with its sample of residuals; None where cameras passed through."""
    if not report or "tracks" not in report:
        return None
    rows = [
        {
            "id": name,
            "observations": v["observations"],
            "rejected": v["rejected"],
            "before": (v["before"] or {}).get("median_px"),  # none: a view without tie points
            "after": (v["after"] or {}).get("median_px"),
            "shift": v["shift_px"],
            "flags": v["flags"],
        }
        for name, v in sorted(report["views"].items())
    ]
    return {
        "tracks": report["tracks"],
        "before": report["before"],
        "after": report["after"],
        "views": rows,
        "residuals": residuals,
    }


def product_rows(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    meaning = {f"{v.name}.tif": v.meaning for v in ALL} | SIDE_FILES | {
        "points.laz": "point cloud (LAS 1.4)",
        "points.copc.laz": "point cloud for viewers that stream (COPC)",
        "ledger.json": "how each tile ended",
        "metrics.json": "figures against the reference",
        "preview.png": "relief and orthoimage",
    }
    return [
        {"file": name, "bytes": record["bytes"], "meaning": meaning.get(name, "")}
        for name, record in sorted(manifest["products"].items())
    ]
