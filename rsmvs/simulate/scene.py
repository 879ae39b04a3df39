"""A procedural scene: exact surface, bare earth, classes and materials on one fine grid in a UTM zone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from rsmvs.geometry.grid import Bounds, Grid
from rsmvs.simulate.canvas import Canvas, blank
from rsmvs.simulate.layout import Frame, dig_pond, fill_block, paint_streets, plant_trees, street_offsets
from rsmvs.simulate.materials import INDEX, texture_amplitudes
from rsmvs.simulate.noise import fractal_noise, smooth_noise
from rsmvs.simulate.options import SceneOptions
from rsmvs.types import F32, F64

_LATTICE = 128.0  # m: areas of interest start on it, so that tiles of 16, 32, 64, 128 m fit them


@dataclass(frozen=True, eq=False)
class Scene:
    """Nodes of the height field are the cell centres of `grid`; between nodes the surface is bilinear.

    surface, terrain: (h, w) ellipsoidal metres; classes: (h, w) index into CLASS_NAMES; material: (h, w) index into
    MATERIALS; albedo: (h, w) factor on the material's reflectance; area: the bounds of interest, metres of `crs`.
    """

    crs: str
    grid: Grid
    area: Bounds
    surface: F32
    terrain: F32
    classes: NDArray[np.int8]
    material: NDArray[np.uint8]
    albedo: F32

    @cached_property
    def heights(self) -> tuple[float, float]:
        """Lowest and highest point (m)."""
        return float(self.surface.min()), float(self.surface.max())

    @property
    def centre(self) -> tuple[float, float, float]:
        """(lon, lat, h) of the middle of the area, at its median height."""
        a = self.area
        lon, lat = transformer(self.crs, True).transform((a[0] + a[2]) / 2, (a[1] + a[3]) / 2)
        return float(lon), float(lat), float(np.median(self.terrain))

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


@lru_cache(maxsize=8)
def transformer(crs: str, inverse: bool) -> Any:
    """pyproj's way from WGS 84 longitude and latitude to `crs`, or back."""
    return Transformer.from_crs(*((crs, "EPSG:4326") if inverse else ("EPSG:4326", crs)), always_xy=True)


def simulate_scene(options: SceneOptions, seed: int) -> Scene:
    """A town of these options; the same seed gives the same bytes."""
    rng = np.random.default_rng([seed, 1])
    crs, grid, area = _place(rng, options)
    terrain = _terrain(rng, grid, options.relief)
    canvas = blank(terrain, INDEX["grass"])
    step, half = grid.step, grid.width * grid.step / 2
    frame = Frame(float(rng.uniform(-0.5, 0.5)), step, ((grid.width - 1) / 2, (grid.height - 1) / 2))
    for _ in range(round(options.water)):
        dig_pond(rng, canvas, step)
    along_u = street_offsets(rng, half * 1.5, (34.0, 62.0))
    along_v = street_offsets(rng, half * 1.5, (55.0, 110.0))
    paint_streets(canvas, frame, along_u, along_v, half * 1.5)
    for a, b in pairwise(along_v):
        for c, d in pairwise(along_u):
            u = a.offset + a.width / 2 + 2, b.offset - b.width / 2 - 2
            v = c.offset + c.width / 2 + 2, d.offset - d.width / 2 - 2
            if abs(sum(u) / 2) < half * 1.5 and abs(sum(v) / 2) < half * 1.5:
                fill_block(rng, canvas, frame, u, v, options)
    rough = fractal_noise(rng, grid.shape, 2.5 / step, 2, 0.6)
    plant_trees(rng, canvas, step, round(options.trees * grid.width * grid.height * step**2 / 1e4), rough)
    return Scene(
        crs, grid, area, canvas.surface, canvas.terrain, canvas.classes, canvas.material, _albedo(rng, canvas, step)
    )


def _place(rng: np.random.Generator, options: SceneOptions) -> tuple[str, Grid, Bounds]:
    """A place on Earth: UTM zone, the fine grid and the area of interest."""
    zone, lat = int(rng.integers(1, 61)), float(rng.uniform(-50, 60))
    crs = f"EPSG:{32600 + zone if lat > 0 else 32700 + zone}"
    x, y = transformer(crs, False).transform(zone * 6 - 183 + rng.uniform(-2, 2), lat)
    x, y = x // _LATTICE * _LATTICE, y // _LATTICE * _LATTICE
    cells, step = round((options.extent + 2 * options.margin) / options.step), options.step
    shift = 0.0 if round(options.resolution / step) % 2 else step / 2  # a node falls on each centre of the truth's cells
    grid = Grid(x - options.margin - shift, y + options.extent + options.margin + shift, step, cells + 1, cells + 1)
    return crs, grid, (x, y, x + options.extent, y + options.extent)


def _terrain(rng: np.random.Generator, grid: Grid, relief: float) -> F32:
    wavelength = max(grid.width / 1.5, 120.0 / grid.step)
    base = float(rng.uniform(20, 900))
    return np.asarray(base + relief / 4 * fractal_noise(rng, grid.shape, wavelength, 4, 0.35), np.float32)


def _albedo(rng: np.random.Generator, canvas: Canvas, step: float) -> F32:
    """Texture at three scales, as strong as the material has it, times the painted detail."""
    amplitude = texture_amplitudes()
    albedo = np.ones_like(canvas.detail)
    for k, wavelength in enumerate((1.0, 4.0, 25.0)):
        albedo += amplitude[:, k][canvas.material] * smooth_noise(rng, albedo.shape, wavelength / step)
    return np.asarray(np.clip(albedo, 0.2, 2.0) * canvas.detail, np.float32)
