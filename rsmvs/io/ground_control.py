"""Ground control points from CSV or GeoJSON.

CSV, one line per image position, with a header: name,lon,lat,h,sigma_xy,sigma_h,view,col,row. GeoJSON: Point features,
coordinates [lon, lat, h], properties name, sigma_xy, sigma_h and observations {view: [col, row]}. Degrees, ellipsoidal
metres; pixels count from 0 at the centre of the upper-left pixel.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

from rsmvs.errors import ConfigError

_COLUMNS = ("name", "lon", "lat", "h", "sigma_xy", "sigma_h", "view", "col", "row")
Record = dict[str, Any]


def read_control(path: str | Path) -> list[Record]:
    """Points as {"name", "lon", "lat", "h", "sigma_xy", "sigma_h", "seen": ((view, col, row), ...)}, sorted by name.

    Errors: ConfigError that names the file and the line or feature.
    """
    path = Path(path)
    try:
        text = path.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        raise ConfigError(path, "does not exist or is no text", "check adjust.gcps") from None
    points = _from_geojson(path, text) if path.suffix.lower() in (".json", ".geojson") else _from_csv(path, text)
    if not points:
        raise ConfigError(path, "holds no control points", "check adjust.gcps")
    return sorted(points, key=lambda p: p["name"])


def _from_csv(path: Path, text: str) -> list[Record]:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [c for c in _COLUMNS if c not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError(path, f"lacks the column {missing[0]}", f"its first line must name {','.join(_COLUMNS)}")
    points: dict[str, Record] = {}
    for number, row in enumerate(rows, 2):
        where = f"{path}, line {number}"
        point = _point(where, row["name"], [row[c] for c in ("lon", "lat", "h")], row)
        known = points.setdefault(row["name"], point)
        if any(known[k] != point[k] for k in point if k != "seen"):
            raise ConfigError(where, f"gives point {row['name']} other coordinates than before", "make them equal")
        known["seen"] += ((row["view"], *_numbers(where, "col, row", [row["col"], row["row"]])),)
    return list(points.values())


def _from_geojson(path: Path, text: str) -> list[Record]:
    try:
        features = json.loads(text)["features"]
        parts = [(f["geometry"]["coordinates"], f["properties"], f["properties"]["observations"].items()) for f in features]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"is no GeoJSON of points with observations ({error!r})"
        raise ConfigError(path, cause, "give Point features with properties name, sigma_xy, sigma_h, observations") from None
    points = []
    for number, (place, properties, seen) in enumerate(parts):
        where = f"{path}, feature {number}"
        point = _point(where, properties.get("name", str(number)), place, properties)
        points.append(point | {"seen": tuple((view, *_numbers(where, view, at)) for view, at in seen)})
    return points


def _point(where: str, name: Any, place: Any, sigmas: Any) -> Record:
    lon, lat, h = _numbers(where, "lon, lat, h", place, 3)
    sigma_xy, sigma_h = _numbers(where, "sigma_xy, sigma_h", [sigmas.get("sigma_xy"), sigmas.get("sigma_h")])
    if not (sigma_xy > 0 and sigma_h > 0):
        raise ConfigError(where, "has a sigma that is not positive", "give standard deviations in metres")
    return {"name": str(name), "lon": lon, "lat": lat, "h": h, "sigma_xy": sigma_xy, "sigma_h": sigma_h, "seen": ()}


def _numbers(where: str, what: str, values: Any, count: int = 2) -> list[float]:
    try:
        numbers = [float(v) for v in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ConfigError(where, f"{what}: {values!r} are not {count} numbers", "mend it")
    return numbers
