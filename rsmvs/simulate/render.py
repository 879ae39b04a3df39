"""What a virtual sensor sees of a scene: image, height and class per pixel, and its camera."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rsmvs.geometry.grid import Grid
from rsmvs.geometry.heightfield import LATTICE_PX, cast_heights, ray_lattice
from rsmvs.simulate.canvas import ELEVATED, GROUND, WATER
from rsmvs.simulate.ground import paint_patch
from rsmvs.simulate.materials import INDEX, seasonal_palette
from rsmvs.simulate.options import ViewOptions
from rsmvs.simulate.radiometry import BEAM, SKY, add_air, add_glint, band_mix, digitise
from rsmvs.simulate.raycast import shade, shadow_heights
from rsmvs.simulate.scene import Scene
from rsmvs.simulate.sensor import pushbroom, vendor_rpc
from rsmvs.types import F32, F64, Camera, Sight

_RPC_MARGIN = 50.0  # m of heights above and below the scene for which the RPC holds
_QUARTERS = np.array([[-0.25, -0.25], [0.25, -0.25], [-0.25, 0.25], [0.25, 0.25]])
# three lines of sight that no row or column shares: for training, where a fourth is not worth its time
_THIRDS = np.array([[-1 / 3, 0.0], [0.0, 1 / 3], [1 / 3, -1 / 3]])


@dataclass(frozen=True, eq=False)
class Rendering:
    """bands: (c, h, w) uint16, 0 off the scene; heights: (h, w) ellipsoidal m at the pixel centres, NaN off the scene;
    classes: (h, w) index into CLASS_NAMES, -1 off the scene; clouded: (h, w), or None; camera: as delivered, and
    camera_error its largest distance to the exact lines of sight, px."""

    bands: NDArray[np.uint16]
    heights: F32
    classes: NDArray[np.int8]
    clouded: NDArray[np.bool_] | None
    camera: Camera
    exact: Sight
    camera_error: float
    options: ViewOptions

    @property
    def image(self) -> NDArray[np.uint16]:
        """(h, w): the panchromatic band, or the mean of the colours."""
        if len(self.bands) == 1:
            return self.bands[0]
        return np.asarray(np.rint(self.bands.mean(axis=0, dtype=np.float32)), np.uint16)


@dataclass(frozen=True, eq=False)
class Light:
    """Shadow heights (m) and openness to the sky (0 to 1) of a scene under one sun; sun: unit vector east, south, up."""

    sun: tuple[float, float, float]
    shadow: F32
    openness: F32


def light_of(scene: Scene, sun_azimuth: float, sun_elevation: float) -> Light:
    """Light of a sun in degrees; the same for every view of one date."""
    a, e = np.radians(sun_azimuth), np.radians(sun_elevation)
    dx, dy = float(np.sin(a)), -float(np.cos(a))
    shadow = shadow_heights(scene.surface, dx, dy, scene.grid.step * float(np.tan(e)))
    # Openness: how deep a place lies below its surroundings of two sizes. A cheap stand-in for the sky-view factor.
    small = cv2.resize(scene.surface, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    depth = np.zeros_like(small)
    for radius in (3.0, 12.0):
        k = 2 * max(round(radius / scene.grid.step / 2), 1) + 1
        depth += np.maximum(cv2.blur(small, (k, k)) - small, 0) / radius
    openness = cv2.resize(1 / (1 + 0.6 * depth), scene.surface.shape[::-1], interpolation=cv2.INTER_LINEAR)
    sun = (dx * float(np.cos(e)), dy * float(np.cos(e)), float(np.sin(e)))
    return Light(sun, shadow, openness)


def render_view(scene: Scene, options: ViewOptions, seed: int, size: tuple[int, int] | None = None,
                light: Light | None = None, quick: bool = False) -> Rendering:
    """One satellite view; `size` (width, height) in pixels, by default what covers the area of interest.

    quick: three lines of sight a pixel instead of four.
    """
    size = size or covering_size(scene, options)
    exact = pushbroom(scene.centre, size, options)
    low, high = scene.heights
    camera, error = vendor_rpc(exact, size, (low - _RPC_MARGIN, high + _RPC_MARGIN))
    return render_camera(scene, exact, camera, error, options, seed, size, light, quick)


def render_camera(scene: Scene, exact: Sight, camera: Camera, error: float, options: ViewOptions, seed: int,
                  size: tuple[int, int], light: Light | None = None, quick: bool = False) -> Rendering:
    """One view of any camera; `exact` takes the picture, `camera` is what comes with it, `error` px off."""
    rng = np.random.default_rng([seed, 2])
    light = light or light_of(scene, options.sun_azimuth, options.sun_elevation)
    heights = (scene.heights[1] + 1.0, scene.heights[0] - 1.0)
    ends = ray_lattice(exact, scene.to_map, scene.grid, size, heights)
    truth, classes = np.empty(size[::-1], np.float32), np.empty(size[::-1], np.int8)
    cast_heights((scene.surface, scene.classes), scene.maxima, ends, LATTICE_PX, heights, truth, classes)
    albedo = drive_cars(scene, options.cars, rng)
    offsets = _THIRDS if quick else _QUARTERS
    radiance = shaded(scene, light, ends, heights, options, albedo, offsets, truth)
    add_glint(radiance, classes == WATER, options, rng)
    clouded = add_air(radiance, options, rng)
    bands = digitise(radiance, options, rng)
    bands[:, np.isnan(truth)] = 0
    return Rendering(bands, truth, classes, clouded, camera, exact, error, options)


def shaded(scene: Scene, light: Light, ends: F64, heights: tuple[float, float], options: ViewOptions, albedo: F32,
           offsets: F64, known: F32) -> F32:
    """Radiance (c, h, w) along the lines of sight of a lattice (see `ray_lattice`); known: (h, w) heights or NaN."""
    mix = band_mix(options.bands)
    out = np.zeros((mix.shape[1], *known.shape), np.float32)
    palette = seasonal_palette(scene.palette, options.season).in_bands(mix)
    layers = (scene.surface, scene.classes, scene.material, albedo, light.shadow, light.openness)
    shade(layers, scene.maxima, ends, LATTICE_PX, heights, scene.grid.step, palette.top, palette.side, light.sun,
          SKY @ mix, BEAM @ mix, offsets, known, out)  # fmt: skip
    return out


def drive_cars(scene: Scene, per_km: float, rng: np.random.Generator) -> F32:
    """The albedo with moving cars painted on the streets: other ones at each call."""
    step = scene.grid.step
    km = len(scene.lanes) * 8.0 / 1000.0
    count = int(rng.poisson(per_km * km)) if len(scene.lanes) else 0
    if not count:
        return scene.albedo
    albedo = scene.albedo.copy()
    layers = (scene.surface, scene.classes, scene.material, albedo)
    h, w = albedo.shape
    for k in rng.integers(0, len(scene.lanes), count):
        x, y, c, s = scene.lanes[k]
        side = rng.choice((-1.8, 1.8)) / step
        x, y = x - side * s, y + side * c
        if 0 <= x < w and 0 <= y < h and scene.material[int(y), int(x)] == INDEX["asphalt"]:
            on = int(scene.classes[int(y), int(x)])
            if on in (GROUND, ELEVATED):
                tone = float(rng.choice((0.35, 0.6, 1.5, 2.4, 3.2)))
                paint_patch(layers, float(x), float(y), float(np.arctan2(s, c)), 2.2 / step, 0.9 / step, tone, on)
    return albedo


def covering_size(scene: Scene, options: ViewOptions) -> tuple[int, int]:
    """(width, height) of an image that sees the whole area of interest at every height of the scene."""
    a = scene.area
    wide = 2 * int((a[2] - a[0] + a[3] - a[1]) / options.gsd) + 1
    low, high = scene.heights
    rpc, _ = vendor_rpc(pushbroom(scene.centre, (wide, wide), options), (wide, wide), (low - 1.0, high + 1.0))
    x, y, h = np.meshgrid([a[0], a[2]], [a[1], a[3]], [low, high])
    lon, lat = scene.from_map(x, y)
    col, row = rpc.project(lon, lat, h)
    half = (wide - 1) / 2
    return 2 * int(np.ceil(np.abs(col - half).max())) + 8, 2 * int(np.ceil(np.abs(row - half).max())) + 8


def orthoimage(scene: Scene, light: Light, grid: Grid, bands: str = "pan") -> NDArray[np.uint16]:
    """True orthoimage (c, h, w) at 11 bits: the scene from straight above, at the cell centres of a ground grid."""
    step = grid.step / scene.grid.step
    nodes = [step * (0.5 + LATTICE_PX * np.arange(-(-n // LATTICE_PX) + 1)) - 0.5 for n in (grid.width, grid.height)]
    x = nodes[0] + (grid.x0 - scene.grid.x0) / scene.grid.step
    x, y = np.meshgrid(x, nodes[1] + (scene.grid.y0 - grid.y0) / scene.grid.step)
    ends = np.ascontiguousarray(np.stack([x, y, x, y], axis=-1))
    heights = (scene.heights[1] + 1.0, scene.heights[0] - 1.0)
    options = ViewOptions(noise=0.0, psf=0.0, bands=bands)
    unknown = np.full(grid.shape, np.nan, np.float32)
    radiance = shaded(scene, light, ends, heights, options, scene.albedo, _QUARTERS, unknown)
    return digitise(radiance, options, np.random.default_rng(0))
