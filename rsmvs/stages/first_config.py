"""A first configuration for a set of images: CRS, area, resolution from their cameras alone."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import Transformer
from shapely.geometry import Polygon
from shapely.ops import unary_union

from rsmvs.config import polygon_of_geojson
from rsmvs.config_files import commented_yaml
from rsmvs.errors import ConfigError, CoverageError
from rsmvs.geometry.viewing import footprint
from rsmvs.io.manifests import write_text
from rsmvs.options import ImageOptions
from rsmvs.stages.views import describe_image
from rsmvs.types import View

_HEIGHTS = 41  # tried between the ends of the range that all cameras share
_STEP = 0.05  # m: resolutions are multiples of it


def first_config(
    images: Sequence[str], out: str | Path, *, aoi: str | None = None, gsd: float | None = None, reference: str | None = None
) -> dict[str, Any]:
    """Write a commented configuration to `out`, and return what it sets.

    Errors: those of `describe_image`; CoverageError where no two images overlap; ConfigError for fewer than two.
    """
    if len(images) < 2:
        raise ConfigError("images", f"{len(images)} given", "name at least two images of the area")
    views = [describe_image(ImageOptions(path=str(Path(p).resolve()) if Path(p).exists() else p)) for p in images]
    folder = Path(out).resolve().parent
    lon, lat = (float(np.mean(c)) for c in zip(*(p for v in views for p in v.footprint), strict=True))
    crs = utm(lon, lat)
    resolution = gsd or max(round(max(v.gsd for v in views) / _STEP), 1) * _STEP
    area: dict[str, Any] = {"crs": crs}
    if aoi:
        polygon_of_geojson(aoi, crs)
        area["aoi_file"] = _from(folder, aoi)
    else:
        area["aoi"] = _box(common_ground(views, crs), resolution)
    area["resolution"] = round(resolution, 6)
    values: dict[str, Any] = {"images": [{"path": _from(folder, v.path)} for v in views], "area": area}
    values["output"] = f"{Path(out).stem}_run"
    if reference:
        values["reference"] = {"dsm": _from(folder, reference)}
    header = "# Written by 'rsmvs init'. Take away the '#' before a key, and before its section, to change it.\n"
    write_text(out, header + commented_yaml(values, all_keys=False))
    return values


def utm(lon: float, lat: float) -> str:
    """EPSG code of the UTM zone of a place (WGS 84)."""
    return f"EPSG:{32600 if lat >= 0 else 32700}".replace("00", f"{int((lon + 180) % 360 // 6) + 1:02d}")


def common_ground(views: Sequence[View], crs: str) -> Polygon:
    """What all views see, in `crs`; what two or more see where there is nothing common to all.

    The height of the ground is not known yet. Of the heights that all cameras share, the one at which most ground is
    common is taken: images of one area overlap best where their lines of sight meet, on the ground.
    """
    low, high = max(v.camera.height_range[0] for v in views), min(v.camera.height_range[1] for v in views)
    if low > high:
        raise CoverageError("images", "their cameras share no height", "check that they show the same area")
    found = max((_common(views, crs, h) for h in np.linspace(low, high, _HEIGHTS)), key=lambda p: p.area)
    if found.is_empty:
        raise CoverageError("images", "no two of them overlap", "name images of one area")
    return found


def _common(views: Sequence[View], crs: str, height: float) -> Any:
    to_crs = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    seen = [Polygon(np.transpose(to_crs(*np.transpose(footprint(v.camera, v.width, v.height, height))))) for v in views]
    common = seen[0]
    for polygon in seen[1:]:
        common = common.intersection(polygon)
    return unary_union([a.intersection(b) for a, b in combinations(seen, 2)]) if common.is_empty else common


def _box(polygon: Any, resolution: float) -> list[float]:
    """Whole metres, or whole cells where those are larger, inside the bounds of a polygon."""
    step = max(1.0, resolution)
    xmin, ymin, xmax, ymax = polygon.bounds
    return [math.ceil(v / step) * step for v in (xmin, ymin)] + [math.floor(v / step) * step for v in (xmax, ymax)]


def _from(folder: Path, path: str) -> str:
    """A path as the configuration in `folder` names it: relative where it is near, else absolute."""
    if not Path(path).exists():
        return path  # remote
    relative = os.path.relpath(Path(path).resolve(), folder)
    return relative if relative.count("..") <= 3 else str(Path(path).resolve())
