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
from rsmvs.errors import CameraError
from rsmvs.geometry.grid import Bounds, Tile
from rsmvs.geometry.ground import map_projection, to_lon_lat
from rsmvs.geometry.viewing import footprint, sight_at_ground
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
    """What all tiles share. points: (n, 4) x, y in the CRS of the area, ellipsoidal height and batch of the sparse points,
    sorted by x; batches: with which addition to the area each view came; ties: share of tie points that each pair of
    views (ids sorted) has in common; all empty where nothing was adjusted. reaches: west, south, east, north (degrees) of
    what each view can see; outline: of the area; frame: its rectangle of whole cells."""

    views: Sequence[View]
    points: F64
    batches: Mapping[str, int]
    ties: Mapping[tuple[str, str], float]
    area: AreaOptions
    options: SelectOptions
    reference: ReferenceOptions
    reaches: Mapping[str, Bounds]
    outline: Polygon
    frame: Bounds

    @classmethod
    def of(
        cls, views: Sequence[View], points: F64, batches: Mapping[str, int], ties: Mapping[tuple[str, str], float],
        area: AreaOptions, options: SelectOptions, reference: ReferenceOptions,
    ) -> Scene:  # fmt: skip
        """The scene with what follows from its parts; points in any order."""
        polygon = area_polygon(area)
        outline = Polygon(polygon) if isinstance(polygon, list) else box(*polygon)
        points = points[np.argsort(points[:, 0], kind="stable")]
        reaches = {view.id: _reach(view) for view in views}
        return cls(views, points, batches, ties, area, options, reference, reaches, outline, scene_grid(area).bounds)


def sparse_points(path: str | Path, crs: str) -> F64:
    """(n, 4) x, y in a projected CRS, ellipsoidal height and batch of the adjustment's points; (0, 4) where there are none.

    Points whose height is poorly known (views from nearly the same place) say nothing of a height range.
    """
    if not Path(path).is_file():
        return np.empty((0, 4))
    found = read_points(path)
    good = found["sigma_h"] <= _MAX_SIGMA
    lon, lat, h, batch = (found[k][good] for k in ("lon", "lat", "h", "batch"))
    return np.column_stack([*map_projection(crs)(lon, lat, h), h, batch])


def plan_tile(tile: Tile, scene: Scene) -> tuple[dict[str, Any], Pairs]:
    """A tile's plan, which holds all that its jobs need, and the rating of all pairs of views that see it."""
    lon, lat = _samples(scene, tile.bounds)
    near = [v for v in scene.views if _may_see(v, scene.reaches[v.id], lon, lat)]
    newest = max((scene.batches.get(v.id, 0) for v in near), default=0)
    # a plan does not change with images of other places, nor with tie points that came with them
    scene = replace(scene, views=near or scene.views)
    cameras = camera_heights(scene.views)
    points, dem = _points_near(tile, scene, newest), _dem_range(scene, lon, lat)
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
        "revision": 1, "tile": tile.name, "bounds": _core(tile, scene.frame), "status": "ok" if sets else "empty",
        "reason": "" if sets else _reason(usable, pairs), "height_range": [low, high], "height_source": source,
        "ground_height": ground, "sets": sets, "pairs": [_pair_record(k, p) for k, p in sorted(pairs.items())],
        "shares": {v.id: round(float(seen[v.id].mean()), 4) for v in scene.views},
        "views": [view_to_dict(v) for v in scene.views if v.id in used],
    }  # fmt: skip
    return plan, pairs


def _core(tile: Tile, frame: Bounds) -> list[float]:
    """The part of a tile that becomes product: within the rectangle of the area of interest."""
    a, b = tile.bounds, frame
    return [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]


def camera_heights(views: Sequence[View]) -> tuple[float, float]:
    """Heights (m) for which all cameras are valid; for which any is, where they have none in common."""
    lows, highs = zip(*(v.camera.height_range for v in views), strict=True)
    return (max(lows), min(highs)) if max(lows) < min(highs) else (min(lows), max(highs))


def _samples(scene: Scene, bounds: Bounds) -> tuple[F64, F64]:
    """Longitude and latitude (n,) of places spread evenly over the part of a tile that lies in the area of interest."""
    xmin, ymin, xmax, ymax = box(*bounds).intersection(scene.outline).bounds
    t = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    x, y = (a.ravel() for a in np.meshgrid(xmin + t * (xmax - xmin), ymin + t * (ymax - ymin)))
    inside = contains_xy(scene.outline, x, y)
    x, y = (x[inside], y[inside]) if inside.any() else (x, y)  # a sliver between the places
    lon, lat = to_lon_lat(scene.area.crs).transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def _points_near(tile: Tile, scene: Scene, newest: int) -> F64:
    """The sparse points (n, 3) of batches up to `newest` in the smallest surrounding of a tile that has enough of them."""
    xmin, ymin, xmax, ymax = tile.bounds
    for ring in _RINGS:
        d = max(ring * tile.size, scene.area.halo)
        first, last = np.searchsorted(scene.points[:, 0], [xmin - d, np.nextafter(xmax + d, np.inf)])
        strip = scene.points[first:last]
        y, batch = strip[:, 1], strip[:, 3]
        near = strip[(y >= ymin - d) & (y <= ymax + d) & (batch <= newest), :3]
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


def _reach(view: View) -> Bounds:
    """West, south, east, north (degrees) of a rectangle around all that a view can see; everything where that is unclear."""
    heights = view.camera.height_range
    try:
        ground = [np.array(footprint(view.camera, view.width, view.height, h)) for h in (*heights, sum(heights) / 2)]
    except CameraError:
        return -np.inf, -np.inf, np.inf, np.inf
    low, high = np.min([g.min(0) for g in ground], axis=0), np.max([g.max(0) for g in ground], axis=0)
    if high[0] - low[0] > 180:  # across the antimeridian
        return -np.inf, -np.inf, np.inf, np.inf
    (west, south), (east, north) = (low - 0.2 * (high - low)).tolist(), (high + 0.2 * (high - low)).tolist()
    return west, south, east, north


def _may_see(view: View, reach: Bounds, lon: F64, lat: F64) -> bool:
    """Whether any place is in the image at any height for which its camera is valid."""
    west, south, east, north = reach
    if lon.max() < west or lon.min() > east or lat.max() < south or lat.min() > north:
        return False
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
