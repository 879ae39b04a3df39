"""The plan of each tile from the views' records: who sees it, at which heights, and which views go together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from shapely import contains_xy
from shapely.geometry import Polygon, box

from rsmvs.config import area_polygon, scene_grid
from rsmvs.geometry.grid import Bounds, Tile
from rsmvs.geometry.ground import map_projection, to_lon_lat
from rsmvs.geometry.viewing import sight_at_ground
from rsmvs.io.raster import usable_at
from rsmvs.io.surfaces import opened_surface
from rsmvs.io.tiepoints import read_points
from rsmvs.io.views import view_to_dict
from rsmvs.options import AreaOptions, ReferenceOptions, SelectOptions
from rsmvs.planning import Pair, Sight, rank_sets, rate_pairs, search_range, trusted_heights
from rsmvs.types import F64, View

_SAMPLES = 16  # per side of a tile: places at which visibility is looked up
_HEIGHTS = 25  # tried where nothing is known of the ground
_MAX_SIGMA = 5.0  # m, of a tie point's height
_HEIGHT_STEP = 10.0  # m, the search range ends on its multiples
_RINGS = (0.0, 0.5, 1.0, 2.0)  # tile sizes around a tile in which tie points are looked for

Pairs = dict[tuple[str, str], Pair]


@dataclass(frozen=True, eq=False)
class Scene:
    """What all tiles share. points: (n, 3) x, y in the CRS of the area and ellipsoidal height, of the sparse points;
    ties: share of tie points that each pair of views (ids sorted) has in common; both empty where nothing was adjusted."""

    views: Sequence[View]
    points: F64
    ties: Mapping[tuple[str, str], float]
    area: AreaOptions
    options: SelectOptions
    reference: ReferenceOptions


def sparse_points(path: str | Path, crs: str) -> F64:
    """(n, 3) x, y in a projected CRS and ellipsoidal height of the adjustment's points; (0, 3) where there are none.

    Points whose height is poorly known (views from nearly the same place) say nothing of a height range.
    """
    if not Path(path).is_file():
        return np.empty((0, 3))
    found = read_points(path)
    good = found["sigma_h"] <= _MAX_SIGMA
    lon, lat, h = (found[k][good] for k in ("lon", "lat", "h"))
    return np.column_stack([*map_projection(crs)(lon, lat, h), h])


def plan_tile(tile: Tile, scene: Scene) -> tuple[dict[str, Any], Pairs]:
    """A tile's plan, which holds all that its jobs need, and the rating of all pairs of views that see it."""
    lon, lat = _samples(scene.area, tile.bounds)
    near = [v for v in scene.views if _may_see(v, lon, lat)]
    scene = replace(scene, views=near or scene.views)  # a plan does not change with images of other places
    cameras = camera_heights(scene.views)
    points, dem = _points_near(tile, scene), _dem_range(scene, lon, lat)
    (low, high), source = search_range(points, dem, cameras, scene.options)
    if scene.area.height_range:
        (low, high), source = (scene.area.height_range[0], scene.area.height_range[1]), "area.height_range"
    # Round heights: a tie point more must not change the plan by a hair and run the tile again, and tiles of other
    # sizes shall search alike.
    low, high = _HEIGHT_STEP * math.floor(low / _HEIGHT_STEP), _HEIGHT_STEP * math.ceil(high / _HEIGHT_STEP)
    ground = float(round(_ground_height(points, dem, (low, high), scene, lon, lat)))
    seen = _seen(scene.views, lon, lat, ground)
    usable = [v for v in scene.views if seen[v.id].mean() >= scene.options.min_overlap]
    centre = float(np.mean(lon)), float(np.mean(lat))
    sights = [Sight(v, float(seen[v.id].mean()), sight_at_ground(v.camera, *centre, ground)) for v in usable]
    overlap = {(a, b): float((seen[a] & seen[b]).mean()) for a, b in combinations(sorted(s.view.id for s in sights), 2)}
    here = {v.id for v in usable}  # partners elsewhere are no measure of the pairs of this tile
    ties = {pair: share for pair, share in scene.ties.items() if here.issuperset(pair)}
    pairs = rate_pairs(sights, overlap, scene.options, ties)
    sets = rank_sets(sights, pairs, scene.options)
    used = {s["reference"] for s in sets} | {i for s in sets for i in s["sources"]}
    plan = {
        "revision": 1, "tile": tile.name, "bounds": _core(tile, scene.area), "status": "ok" if sets else "empty",
        "reason": "" if sets else _reason(usable, pairs), "height_range": [low, high], "height_source": source,
        "ground_height": ground, "sets": sets, "pairs": [_pair_record(k, p) for k, p in sorted(pairs.items())],
        "shares": {v.id: round(float(seen[v.id].mean()), 4) for v in scene.views},
        "views": [view_to_dict(v) for v in scene.views if v.id in used],
    }  # fmt: skip
    return plan, pairs


def _core(tile: Tile, area: AreaOptions) -> list[float]:
    """The part of a tile that becomes product: within the rectangle of the area of interest."""
    a, b = tile.bounds, scene_grid(area).bounds
    return [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]


def camera_heights(views: Sequence[View]) -> tuple[float, float]:
    """Heights (m) for which all cameras are valid; for which any is, where they have none in common."""
    lows, highs = zip(*(v.camera.height_range for v in views), strict=True)
    return (max(lows), min(highs)) if max(lows) < min(highs) else (min(lows), max(highs))


def _samples(area: AreaOptions, bounds: Bounds) -> tuple[F64, F64]:
    """Longitude and latitude (n,) of places spread evenly over the part of a tile that lies in the area of interest."""
    polygon = area_polygon(area)
    polygon = Polygon(polygon) if isinstance(polygon, list) else box(*polygon)
    xmin, ymin, xmax, ymax = box(*bounds).intersection(polygon).bounds
    t = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    x, y = (a.ravel() for a in np.meshgrid(xmin + t * (xmax - xmin), ymin + t * (ymax - ymin)))
    inside = contains_xy(polygon, x, y)
    x, y = (x[inside], y[inside]) if inside.any() else (x, y)  # a sliver between the places
    lon, lat = to_lon_lat(area.crs).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _points_near(tile: Tile, scene: Scene) -> F64:
    """The sparse points (n, 3) in the smallest surrounding of a tile that has enough of them."""
    xmin, ymin, xmax, ymax = tile.bounds
    x, y, _ = scene.points.T
    for ring in _RINGS:
        d = max(ring * tile.size, scene.area.halo)
        near = scene.points[(x >= xmin - d) & (x <= xmax + d) & (y >= ymin - d) & (y <= ymax + d)]
        if len(trusted_heights(near)) >= scene.options.min_points:
            return near
    return near


def _dem_range(scene: Scene, lon: F64, lat: F64) -> tuple[float, float] | None:
    """Lowest and highest ellipsoidal height of the configured DEM under a tile; None where it knows nothing."""
    if scene.reference.dem is None:
        return None
    with opened_surface(scene.reference.dem, "EPSG:4326") as surface:
        col, row = surface.to_pixel(lon, lat)
        values = surface.read(surface.window_around(col, row))
    values = values[np.isfinite(values)] + scene.reference.dem_offset
    return (float(values.min()), float(values.max())) if values.size else None


def _ground_height(
    points: F64, dem: tuple[float, float] | None, heights: tuple[float, float], scene: Scene, lon: F64, lat: F64
) -> float:
    """A height (m) at which to look up who sees a tile.

    Without any knowledge of the ground it is the one at which most views see most of the tile: images of one area
    overlap best where their lines of sight meet, on the ground. (Middle of the best, where many are equal.)
    """
    trusted = trusted_heights(points)
    if len(trusted) >= scene.options.min_points:
        return float(np.median(trusted))
    if dem is not None:
        return (dem[0] + dem[1]) / 2
    tried = np.linspace(*heights, _HEIGHTS)
    seen = [sum(_inside(v, lon, lat, h).sum() for v in scene.views) for h in tried]
    return float(np.median(tried[np.array(seen) == max(seen)]))


def _inside(view: View, lon: F64, lat: F64, h: Any) -> Any:
    col, row = view.camera.project(lon, lat, h)
    return (col >= -0.5) & (col < view.width - 0.5) & (row >= -0.5) & (row < view.height - 0.5)


def _may_see(view: View, lon: F64, lat: F64) -> bool:
    """Whether any place is in the image at any height for which its camera is valid."""
    few, heights = slice(None, None, 5), np.linspace(*view.camera.height_range, 5)[:, None]
    return bool(_inside(view, lon[few], lat[few], heights).any())


def _seen(views: Sequence[View], lon: F64, lat: F64, h: float) -> dict[str, Any]:
    """Per view, (n,) True where it shows a place: inside the image, with data, unmasked."""
    return {v.id: usable_at(v, *v.camera.project(lon, lat, h)) for v in views}


def _reason(usable: Sequence[View], pairs: Pairs) -> str:
    if len(usable) < 2:
        return "fewer than two views see it" if usable else "no view sees it"
    key = max(sorted(pairs), key=lambda k: pairs[k].score)
    return f"no pair of views is usable ({key[0]} and {key[1]}: {pairs[key].barred})"


def _pair_record(key: tuple[str, str], pair: Pair) -> dict[str, Any]:
    terms = {k: round(v, 4) for k, v in pair.terms.items()}
    record = {"views": list(key), "score": round(pair.score, 6), "terms": terms, "angle": round(pair.angle, 3)}
    return record | {"days": None if pair.days is None else round(pair.days, 3), "why": pair.barred or pair.why()}
