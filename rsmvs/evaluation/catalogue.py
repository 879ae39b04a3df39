"""What a run is made of, for machines: a STAC item of its products and a manifest of what they were made from.

Nothing here knows the time or the computer: the same inputs and options give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rsmvs import __version__
from rsmvs.geometry.grid import Grid
from rsmvs.io.layers import ALL, SEMANTIC, SIDE_FILES, Code, Layer
from rsmvs.io.manifests import checksum
from rsmvs.types import View

_SCHEMAS = "https://stac-extensions.github.io"
EXTENSIONS = tuple(
    f"{_SCHEMAS}/{name}/schema.json"
    for name in ("classification/v2.0.0", "file/v2.1.0", "pointcloud/v2.0.0", "processing/v1.2.0", "projection/v2.0.0",
                 "raster/v2.0.0")
)  # fmt: skip
_MEDIA = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".copc.laz": "application/vnd.laszip+copc",
    ".laz": "application/vnd.laszip",
    ".json": "application/json",
    ".png": "image/png",
    ".html": "text/html",
    ".xml": "application/xml",
}
_TEXTS = {
    "points.laz": "point cloud, LAS 1.4 point format 7",
    "points.copc.laz": "point cloud for viewers that stream, COPC 1.0",
    "ledger.json": "how each tile ended",
    "metrics.json": "figures against the reference",
    "preview.png": "relief and orthoimage",
    **SIDE_FILES,
}
_ROLES = {"preview.png": ["thumbnail"], **{name: ["metadata"] for name in ("ledger.json", "metrics.json", *SIDE_FILES)}}
# Made after the item, from it: named without size and checksum.
_LATER = {
    key: {"href": f"./{file}", "type": _MEDIA[Path(file).suffix], "title": title, "roles": [role]}
    for key, file, title, role in (
        ("manifest", "manifest.json", "what the products were made from", "metadata"),
        ("report", "report.html", "the run as one page", "overview"),
    )
}
_CLOUDS = ("points.laz", "points.copc.laz")
# A file that does not know its date is from some time at all: STAC wants a span, and this one claims nothing.
_ANY_TIME = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z")
_POINT_SCHEMA = (
    *((name, 4, "signed") for name in ("X", "Y", "Z")), ("Intensity", 2, "unsigned"), ("Classification", 1, "unsigned"),
    *((name, 2, "unsigned") for name in ("Red", "Green", "Blue")), ("n_views", 1, "unsigned"),
    *((name, 4, "floating") for name in ("confidence", "sigma_z", "vote_margin")),
)  # fmt: skip
_NOISE = Code(7, "noise", (255, 0, 255))


class StoredBands(NamedTuple):
    """How a raster product is stored."""

    names: tuple[str, ...]
    dtype: str
    nodata: float | None


def file_record(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    return {"bytes": path.stat().st_size, "sha256": checksum(path)}


def manifest(
    config: Mapping[str, Any],
    views: Sequence[View],
    products: Mapping[str, Path],
    ledger: Mapping[str, Any],
    versions: Mapping[str, str],
    weights: Mapping[str, Path],
    known: Mapping[str, Path],
) -> dict[str, Any]:
    """Inputs and weights with checksums, options, versions, products with checksums, and how the tiles ended.

    known: the other files that the configuration names, by its keys. How long it took is no part of it, for no two runs
    take the same time: `timings` names the file that tells.

    Options name files without their folders: a run moved to another place is the same run.
    """
    options = _without_folders({k: v for k, v in config.items() if k != "output"})
    text = json.dumps(options, sort_keys=True)
    return {
        "software": {"rsmvs": __version__, **versions},
        "config": options,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "inputs": {
            v.id: {"file": Path(v.path).name, "camera": Path(v.camera_source).name, "date": v.date}
            | (file_record(Path(v.path)) if Path(v.path).is_file() else {"fingerprint": v.fingerprint})
            | ({"camera_sha256": checksum(v.camera_source)} if Path(v.camera_source).is_file() else {})
            for v in views
        },
        "files": {key: {"file": path.name} | file_record(path) for key, path in sorted(known.items())},
        "weights": {use: {"file": path.name} | file_record(path) for use, path in sorted(weights.items())},
        "products": {name: file_record(path) for name, path in sorted(products.items())},
        "tiles": {key: ledger[key] for key in ("counts", "reasons", "cells", "valid_cells", "points")},
        "timings": "../timings.json",
    }


def _without_folders(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_folders(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(v) for v in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def stac_item(
    name: str, grid: Grid, crs: Mapping[str, Any], ring: Sequence[tuple[float, float]], views: Sequence[View],
    products: Mapping[str, Path], points: int, stored: Mapping[str, StoredBands],
) -> dict[str, Any]:  # fmt: skip
    """STAC 1.1 item. crs: {'code': 'EPSG:32637', 'wkt2': ..., 'vertical': ...}; ring: (lon, lat) of the area's outline.

    stored: of the rasters among the products, by file name.
    """
    lons, lats = zip(*ring, strict=True)
    dates = sorted(v.date for v in views if v.date)
    span = (_rfc3339(dates[0]), _rfc3339(dates[-1])) if dates else _ANY_TIME
    properties = {
        "title": f"Surface model of {name}",
        "description": f"Made from {len(views)} images by rsmvs. Heights above the {crs['vertical']}."
        + ("" if dates else " The images do not tell their dates."),
        "datetime": None,
        "start_datetime": span[0],
        "end_datetime": span[1],
        "gsd": grid.step,
        "processing:software": {"rsmvs": __version__},
        "processing:lineage": "Multi-view stereo of " + ", ".join(sorted(v.id for v in views)),
        "proj:code": crs["code"],
        "proj:wkt2": crs["wkt2"],
        "proj:bbox": list(grid.bounds),
        "proj:shape": list(grid.shape),
        "proj:transform": [grid.step, 0.0, grid.x0, 0.0, -grid.step, grid.y0],
        "pc:count": points,
        "pc:type": "eopc",
        "pc:density": round(points / (grid.width * grid.height * grid.step**2), 4),
        "pc:schemas": [{"name": n, "size": s, "type": t} for n, s, t in _POINT_SCHEMA],
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [[list(p) for p in [*ring, ring[0]]]]},
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
        "properties": properties,
        "links": [],
        "assets": {_key(f): _asset(f, path, grid, stored.get(f)) for f, path in sorted(products.items())} | _LATER,
    }


def _key(file: str) -> str:
    return file.removesuffix(".tif").replace(".", "_")


def _rfc3339(date: str) -> str:
    """A time of day is added where the images tell the day alone."""
    return date if date.endswith("Z") or "+" in date[10:] else (date if "T" in date else date + "T00:00:00") + "Z"


def _asset(file: str, path: Path, grid: Grid, stored: StoredBands | None) -> dict[str, Any]:
    record = file_record(path)
    suffix = ".copc.laz" if file.endswith(".copc.laz") else path.suffix
    layer = next((v for v in ALL if file == f"{v.name}.tif"), None)
    asset: dict[str, Any] = {
        "href": f"./{file}",
        "type": _MEDIA[suffix],
        "title": layer.meaning if layer else _TEXTS.get(file, file),
        "roles": _ROLES.get(file, ["data"]),
        "file:size": record["bytes"],
        "file:checksum": "1220" + record["sha256"],  # multihash: SHA-256, 32 bytes
    }
    if layer and stored:
        asset["bands"] = [_band(name, layer, stored, grid) for name in stored.names]
    if file in _CLOUDS:
        asset["classification:classes"] = _classes((*SEMANTIC.codes, _NOISE))
    return asset


def _band(name: str, layer: Layer, stored: StoredBands, grid: Grid) -> dict[str, Any]:
    band: dict[str, Any] = {
        "name": name if len(stored.names) > 1 else layer.name,
        "description": layer.meaning,
        "unit": layer.unit,
        "data_type": stored.dtype,
        "raster:sampling": "area",
        "raster:spatial_resolution": grid.step,
    }
    if stored.nodata is not None:
        band["nodata"] = stored.nodata
    if layer.codes:
        band["classification:classes"] = _classes(layer.codes)
    return band


def _classes(codes: Sequence[Code]) -> list[dict[str, Any]]:
    return [
        {
            "value": c.value,
            "name": c.name.replace(" ", "-"),
            "title": c.name,
            "color_hint": "{:02X}{:02X}{:02X}".format(*c.colour),
        }
        for c in codes
    ]
