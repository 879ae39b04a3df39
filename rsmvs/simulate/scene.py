"""A procedural scene: exact surface, bare earth, classes and materials on one fine grid in a UTM zone."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from rsmvs.geometry.grid import Bounds, Grid
from rsmvs.geometry.heightfield import block_maxima
from rsmvs.simulate.buildings import Builder
from rsmvs.simulate.canvas import Canvas, blank
from rsmvs.simulate.frame import draw_frame
from rsmvs.simulate.layout import fill_blocks, paint_streets, raise_deck, street_offsets
from rsmvs.simulate.materials import INDEX, Palette, regional_palette, texture_amplitudes
from rsmvs.simulate.noise import smooth_noise
from rsmvs.simulate.options import SceneOptions
from rsmvs.simulate.styles import Place, draw_place
from rsmvs.simulate.terrain import flood, terrain
from rsmvs.simulate.vegetation import plant
from rsmvs.types import F32, F64

_LATTICE = 128.0  # m: areas of interest start on it, so that tiles of 16, 32, 64, 128 m fit them


@dataclass(frozen=True, eq=False)
class Scene:
    """Nodes of the height field are the cell centres of `grid`; between nodes the surface is bilinear.

    surface, terrain: (h, w) ellipsoidal metres; classes: (h, w) index into CLASS_NAMES; material: (h, w) index into
    MATERIALS; albedo: (h, w) factor on the material's reflectance; palette: of this region; lanes: (n, 4) places (x, y)
    in cells and unit directions of traffic; area: the bounds of interest, metres of `crs`.
    """

    crs: str
    grid: Grid
    area: Bounds
    surface: F32
    terrain: F32
    classes: NDArray[np.int8]
    material: NDArray[np.uint8]
    albedo: F32
    palette: Palette
    lanes: F64

    @cached_property
    def heights(self) -> tuple[float, float]:
        """Lowest and highest point (m)."""
        return float(self.surface.min()), float(self.surface.max())

    @cached_property
    def maxima(self) -> tuple[F32, F32]:
        """Highest points of blocks, for the ray caster."""
        return block_maxima(self.surface)

    @cached_property
    def centre(self) -> tuple[float, float, float]:
        """(lon, lat, h) of the middle of the area, at the height of the ground there."""
        a = self.area
        lon, lat = transformer(self.crs, True).transform((a[0] + a[2]) / 2, (a[1] + a[3]) / 2)
        return float(lon), float(lat), float(np.median(self.terrain[::8, ::8]))

    def to_map(self, lon: Any, lat: Any, h: Any) -> tuple[F64, F64]:
        """(x, y) in metres of the CRS: the target of warp fields that lead to the ground."""
        return transformer(self.crs, False).transform(lon, lat)

    def from_map(self, x: Any, y: Any) -> tuple[F64, F64]:
        """(lon, lat) in degrees of map coordinates."""
        return transformer(self.crs, True).transform(x, y)

    def truth(self, layer: NDArray[Any], grid: Grid) -> NDArray[Any]:
        """A layer at the cell centres of a ground grid of the scene's resolution: nodes, exactly."""
        step, factor = self.grid.step, round(grid.step / self.grid.step)
        col = round((grid.x0 + grid.step / 2 - self.grid.x0) / step - 0.5)
        row = round((self.grid.y0 - grid.y0 + grid.step / 2) / step - 0.5)
        return np.ascontiguousarray(layer[row :: factor, col :: factor][: grid.height, : grid.width])


@lru_cache(maxsize=128)
def transformer(crs: str, inverse: bool) -> Any:
    """pyproj's way from WGS 84 longitude and latitude to `crs`, or back."""
    return Transformer.from_crs(*((crs, "EPSG:4326") if inverse else ("EPSG:4326", crs)), always_xy=True)


def simulate_scene(options: SceneOptions, seed: int) -> Scene:
    """A place of these options; the same seed gives the same bytes."""
    rng, dice = np.random.default_rng([seed, 1]), random.Random(seed)
    crs, grid, area = _locate(rng, options)
    place = _scaled(draw_place(options.style, dice), options.scale)
    canvas = blank(terrain(rng, grid.shape, grid.step, place.relief), INDEX[place.ground], grid.step)
    flood(rng, canvas, place)
    streets = _build(rng, dice, canvas, place, options.scale)
    palette = regional_palette(rng, options.variety, place.aridity)
    lanes = _lanes(streets)
    albedo = _albedo(rng, canvas)
    return Scene(crs, grid, area, canvas.surface, canvas.terrain, canvas.classes, canvas.material, albedo, palette, lanes)


def _build(rng: np.random.Generator, dice: random.Random, canvas: Canvas, place: Place, scale: float) -> list[F64]:
    """Streets, buildings, bridges, plants; returns the streets' middle lines."""
    h, w = canvas.terrain.shape
    half = max(h, w) * canvas.step / 2 * 1.45 + place.bend  # the turned frame covers the corners
    frame = draw_frame(dice, canvas.step, ((w - 1) / 2, (h - 1) / 2), place.bend)
    along_u = street_offsets(dice, half, (place.depth[0] + 8, place.depth[1] + 8), place.streets)
    along_v = street_offsets(dice, half, (place.length[0] + 8, place.length[1] + 8), place.streets)
    streets = paint_streets(canvas, frame, along_u, along_v, half)
    parks = fill_blocks(Builder(dice, canvas, frame, place), along_u, along_v, half)
    for _ in range(place.decks):
        raise_deck(dice, canvas, max(h, w) * canvas.step / 2)
    plant(rng, canvas, frame, place, streets, parks, scale)
    return streets


def _scaled(place: Place, scale: float) -> Place:
    if scale == 1.0:
        return place
    length, depth = ((scale * a, scale * b) for a, b in (place.length, place.depth))
    streets = tuple(w * scale**0.5 for w in place.streets)
    return dataclasses.replace(place, length=length, depth=depth, streets=streets, bend=place.bend * scale)


def _locate(rng: np.random.Generator, options: SceneOptions) -> tuple[str, Grid, Bounds]:
    """A place on Earth: UTM zone, the fine grid and the area of interest."""
    zone, lat = int(rng.integers(1, 61)), float(rng.uniform(-50, 60))
    crs = f"EPSG:{32600 + zone if lat > 0 else 32700 + zone}"
    x, y = transformer(crs, False).transform(zone * 6 - 183 + rng.uniform(-2, 2), lat)
    x, y = x // _LATTICE * _LATTICE, y // _LATTICE * _LATTICE
    cells, step = round((options.extent + 2 * options.margin) / options.step), options.step
    shift = 0.0 if round(options.resolution / step) % 2 else step / 2  # a node falls on each centre of the truth's cells
    grid = Grid(x - options.margin - shift, y + options.extent + options.margin + shift, step, cells + 1, cells + 1)
    return crs, grid, (x, y, x + options.extent, y + options.extent)


def _lanes(streets: list[F64]) -> F64:
    if not streets:
        return np.empty((0, 4))
    parts = []
    for path in streets:
        d = np.diff(path, axis=0)
        parts.append(np.concatenate([path[:-1], d / np.maximum(np.linalg.norm(d, axis=1), 1e-9)[:, None]], axis=1))
    return np.concatenate(parts)


def _albedo(rng: np.random.Generator, canvas: Canvas) -> F32:
    """Texture at three scales, as strong as the material has it, times the painted detail."""
    amplitude = texture_amplitudes()
    albedo = np.ones_like(canvas.detail)
    for k, wavelength in enumerate((1.1, 4.5, 28.0)):
        noise = smooth_noise(rng, albedo.shape, max(wavelength / canvas.step, 2.2))
        noise *= amplitude[:, k].take(canvas.material)
        albedo += noise
    np.clip(albedo, 0.25, 2.0, out=albedo)
    albedo *= canvas.detail
    return albedo
