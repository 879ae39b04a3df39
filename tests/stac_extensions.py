"""What the STAC extensions that an item declares ask of it: fields, their types, and where they may stand.

Written after the extensions' specifications; the core schemas under data/stac are the published ones.
"""

from __future__ import annotations

from typing import Any

_TEXT, _NUMBER, _COUNT = {"type": "string", "minLength": 1}, {"type": "number"}, {"type": "integer", "minimum": 0}
_CLASS = {
    "type": "object",
    "required": ["value", "name"],
    "properties": {
        "value": {"type": "integer"},
        "name": {"type": "string", "pattern": "^[0-9A-Za-z_-]+$"},
        "title": _TEXT,
        "description": _TEXT,
        "color_hint": {"type": "string", "pattern": "^[0-9A-F]{6}$"},
        "nodata": {"type": "boolean"},
    },
}
_DIMENSION = {
    "type": "object",
    "required": ["name", "size", "type"],
    "properties": {"name": _TEXT, "size": {"type": "integer"}, "type": {"enum": ["floating", "unsigned", "signed"]}},
}


def _numbers(*lengths: int) -> dict[str, Any]:
    return {"type": "array", "items": _NUMBER, "anyOf": [{"minItems": n, "maxItems": n} for n in lengths]}


# By the name and version of the extension: its prefix, its fields, and those that the item's properties must have.
RULES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "projection/v2.0.0": ("proj", {
        "proj:code": {"type": ["string", "null"], "pattern": "^[A-Z0-9]+:[A-Za-z0-9_.-]+$"},
        "proj:wkt2": {"type": ["string", "null"]},
        "proj:bbox": _numbers(4, 6),
        "proj:shape": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "proj:transform": _numbers(6, 9),
    }, ()),
    "raster/v2.0.0": ("raster", {
        "raster:sampling": {"enum": ["area", "point"]},
        "raster:spatial_resolution": {"type": "number", "exclusiveMinimum": 0},
    }, ()),
    "classification/v2.0.0": ("classification", {
        "classification:classes": {"type": "array", "items": _CLASS, "minItems": 1, "uniqueItems": True},
    }, ()),
    "pointcloud/v2.0.0": ("pc", {
        "pc:count": _COUNT,
        "pc:type": _TEXT,
        "pc:density": {"type": "number", "minimum": 0},
        "pc:schemas": {"type": "array", "items": _DIMENSION, "minItems": 1},
    }, ("pc:count", "pc:type")),
    "processing/v1.2.0": ("processing", {
        "processing:lineage": _TEXT,
        "processing:software": {"type": "object", "additionalProperties": _TEXT},
    }, ()),
    "file/v2.1.0": ("file", {
        "file:size": _COUNT,
        "file:checksum": {"type": "string", "pattern": "^1220[a-f0-9]{64}$"},  # as multihash: SHA-256
    }, ()),
}  # fmt: skip


def schema_of(extension: str) -> dict[str, Any]:
    """JSON schema of an item under one extension: its fields as they must be, and no others of its prefix."""
    prefix, fields, required = RULES[extension]
    known = {"properties": fields, "propertyNames": {"anyOf": [{"enum": list(fields)}, {"not": {"pattern": f"^{prefix}:"}}]}}
    bands = {"properties": {"bands": {"type": "array", "items": known}}}
    url = f"https://stac-extensions.github.io/{extension}/schema.json"
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {
            "stac_extensions": {"contains": {"const": url}},
            "properties": {"allOf": [known, {"required": list(required)}]},
            "assets": {"additionalProperties": {"allOf": [known, bands]}},
        },
    }
