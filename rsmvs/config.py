"""The configuration: one YAML file to frozen option dataclasses, and back to its schema and its commented default.

Everything a user can set stands once, as a field of a dataclass in `rsmvs.options` with its default, unit, range and
meaning. From those come the checks, the JSON schema and the commented default file.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from rsmvs.errors import ConfigError
from rsmvs.geometry.grid import Grid, Tile, tiles_of
from rsmvs.options import AreaOptions, Config

T = TypeVar("T")
_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def load_config(path: str | Path) -> Config:
    """Configuration of a YAML file; relative paths in it count from the file's own folder."""
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(path, "does not exist", "write one with 'rsmvs init'") from None
    except yaml.YAMLError as error:
        raise ConfigError(path, f"is not valid YAML ({error})", "mend the line it names") from None
    return config_from_dict(values, path)


def config_from_dict(values: Any, path: str | Path) -> Config:
    """Configuration of parsed YAML; `path` names it in errors and anchors its relative paths."""
    path = Path(path)
    if not isinstance(values, dict):
        raise ConfigError(path, "holds no keys", "write one with 'rsmvs init'")
    config = build(Config, values, path)
    return resolved(config, path.resolve().parent)


def build(cls: type[T], values: Any, where: object, key: str = "") -> T:
    """An option dataclass from plain values; unknown keys, wrong types and values out of range are errors."""
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(where, f"key '{key}' is {values!r}", "give it keys of its own")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    dot = f"{key}." if key else ""
    for name in values:
        if name not in fields:
            raise ConfigError(where, f"unknown key '{dot}{name}'", f"known here: {', '.join(fields)}")
    made = {n: _value(hints[n], fields[n].metadata, v, where, dot + str(n)) for n, v in values.items()}
    for name, f in fields.items():
        if name not in made and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(where, f"key '{dot}{name}' is missing", f.metadata.get("help", "give it a value"))
    return cls(**made)


def _value(hint: Any, meta: Any, value: Any, where: object, key: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in args:
            return None
        hint = next(a for a in args if a is not type(None))
        origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where, key)  # type: ignore[arg-type]
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(where, f"key '{key}' is {value!r}", "give a list")
        item = args[0]
        return tuple(_value(item, meta, v, where, f"{key}[{i}]") for i, v in enumerate(value))
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(where, f"key '{key}' is {value!r}", f"expected {_JSON_TYPES.get(hint, hint)}")
    low, high, choices = meta.get("low"), meta.get("high"), meta.get("choices")
    if choices and value not in choices:
        raise ConfigError(where, f"key '{key}' is {value!r}", f"choose from {', '.join(map(str, choices))}")
    if (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(where, f"key '{key}' is {value!r}", f"expected {_range(low, high)}")
    return value


def _range(low: Any, high: Any) -> str:
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}"


def as_dict(options: Any) -> dict[str, Any]:
    """Plain values of an option dataclass, as JSON has them; `build` reads them back."""
    return json.loads(json.dumps(dataclasses.asdict(options)))


def resolved(config: T, folder: Path) -> T:
    """Paths of an option dataclass made absolute against a folder; empty ones, /vsi paths and URLs pass through."""

    def absolute(path: str) -> str:
        return path if not path or path.startswith("/vsi") or "://" in path else str((folder / path).resolve())

    def walk(node: Any) -> Any:
        changes: dict[str, Any] = {}
        for f in dataclasses.fields(node):
            value = getattr(node, f.name)
            if f.metadata.get("path") and isinstance(value, str):
                changes[f.name] = absolute(value)
            elif f.metadata.get("path") and isinstance(value, tuple):
                changes[f.name] = tuple(absolute(v) for v in value)
            elif dataclasses.is_dataclass(value):
                changes[f.name] = walk(value)
            elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
                changes[f.name] = tuple(walk(v) for v in value)
        return dataclasses.replace(node, **changes)

    return walk(config)


def view_ids(config: Config) -> list[str]:
    """Names of the views, in the order of the images; they become file names."""
    ids = [image.id or Path(image.path).stem for image in config.images]
    for i, name in enumerate(ids):
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ConfigError(f"images[{i}].id", f"'{name}' is no file name", "give letters, digits, '.', '_', '+', '-'")
        if name in ids[:i]:
            raise ConfigError(f"images[{i}].id", f"'{name}' stands twice", "give each image an id of its own")
    return ids


def frozen_views(config: Config) -> list[str]:
    """Ids of the views whose cameras stand already (adjust.freeze), sorted."""
    if config.adjust.freeze is None:
        return []
    path = Path(config.adjust.freeze) / "views.json"
    if path.resolve().parent == Path(config.output).resolve() / "adjusted":
        raise ConfigError("adjust.freeze", "names the folder that this run writes", "copy it to another place first (cp -r)")
    try:
        known = {str(view["id"]) for view in json.loads(path.read_text())["views"]}
    except FileNotFoundError:
        raise ConfigError(path, "does not exist", "check adjust.freeze: a folder 'adjusted' or a copy of one") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigError(path, "is no file of views", "check adjust.freeze") from None
    return sorted(known.intersection(view_ids(config)))


def tiles(config: Config) -> list[Tile]:
    """The tiles of a run: a pure function of area of interest, CRS and tile size."""
    return area_tiles(config.area)


def area_tiles(area: AreaOptions) -> list[Tile]:
    """`tiles` of an area."""
    scene_grid(area)  # tiles hold whole cells, or this says why not
    found = tiles_of(area_polygon(area), area.tile_size)
    if not found:
        raise ConfigError("area.aoi", "holds no ground", "give xmin < xmax and ymin < ymax")
    return found


def scene_grid(area: AreaOptions) -> Grid:
    """The grid of the scene's rasters: the cells over the area of interest, on multiples of the resolution."""
    ratio = area.tile_size / area.resolution
    if not math.isclose(ratio, round(ratio), rel_tol=1e-9):
        raise ConfigError(
            "area.tile_size",
            f"{area.tile_size:g} m is no multiple of the resolution {area.resolution:g} m",
            f"give {round(ratio) * area.resolution:g}",
        )
    polygon = area_polygon(area)
    if isinstance(polygon, list):
        xs, ys = zip(*polygon, strict=True)
        polygon = (min(xs), min(ys), max(xs), max(ys))
    return Grid.covering(polygon, area.resolution)


def area_polygon(area: AreaOptions) -> Any:
    """The area of interest in the project's CRS: (xmin, ymin, xmax, ymax), or vertices (x, y) of a GeoJSON polygon."""
    if area.aoi:
        xmin, ymin, xmax, ymax = area.aoi if len(area.aoi) == 4 else (0, 0, 0, 0)
        if not (xmin < xmax and ymin < ymax):
            raise ConfigError("area.aoi", f"{list(area.aoi)} is empty", "give [xmin, ymin, xmax, ymax] in metres of area.crs")
        return tuple(area.aoi)
    if not area.aoi_file:
        raise ConfigError("area.aoi", "is not set", "give [xmin, ymin, xmax, ymax], or area.aoi_file, or use 'rsmvs init'")
    return polygon_of_geojson(area.aoi_file, area.crs)


def polygon_of_geojson(path: str, crs: str) -> list[tuple[float, float]]:
    """Outer ring, in `crs`, of the first polygon of a GeoJSON file (longitude, latitude, as RFC 7946 has it)."""
    try:
        node = json.loads(Path(path).read_text())
        node = node["features"][0] if "features" in node else node
        node = node.get("geometry", node)
        ring = node["coordinates"][0] if node["type"] == "Polygon" else node["coordinates"][0][0]
        lon, lat = zip(*((p[0], p[1]) for p in ring), strict=True)
    except FileNotFoundError:
        raise ConfigError(path, "does not exist", "check area.aoi_file") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise ConfigError(path, "holds no polygon", "give a GeoJSON Polygon in longitude and latitude") from None
    from pyproj import Transformer  # only GeoJSON areas pay for the import

    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    return list(zip(map(float, x), map(float, y), strict=True))
