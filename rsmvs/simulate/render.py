"""What a virtual satellite sees of a scene: image, height and class per pixel, and its camera."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rsmvs.geometry.grid import Grid
from rsmvs.geometry.rpc import RPC
from rsmvs.simulate.materials import PAN, reflectances
from rsmvs.simulate.options import ViewOptions
from rsmvs.simulate.raycast import block_maxima, cast_heights, shade, shadow_heights
from rsmvs.simulate.scene import Scene
from rsmvs.simulate.sensor import Pushbroom, pushbroom, vendor_rpc
from rsmvs.types import F32, F64

_LATTICE_PX = 32  # between two exact lines of sight: between them they are interpolated, to far below 0.001 px
_SAMPLES = 2  # lines of sight a pixel and direction
_RPC_MARGIN = 50.0  # m of heights above and below the scene for which the RPC holds
_FULL_SCALE = 0.55  # radiance that fills the range of the sensor
_BEAM = np.array([0.78, 0.85, 0.88, 0.92], np.float32)  # direct irradiance in blue, green, red, near infrared
_SKY = np.array([0.26, 0.20, 0.16, 0.10], np.float32)


@dataclass(frozen=True, eq=False)
class Rendering:
    """image: (h, w) uint16, 0 off the scene; heights: (h, w) ellipsoidal m at the pixel centres, NaN off the scene;
    classes: (h, w) index into CLASS_NAMES, -1 off the scene; rpc_error: largest distance to the exact camera, px."""

    image: NDArray[np.uint16]
    heights: F32
    classes: NDArray[np.int8]
    camera: RPC
    exact: Pushbroom
    rpc_error: float
    options: ViewOptions


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
    depth = np.zeros_like(scene.surface)
    for radius in (3.0, 12.0):
        k = 2 * round(radius / scene.grid.step) + 1
        depth += np.maximum(cv2.blur(scene.surface, (k, k)) - scene.surface, 0) / radius
    sun = (dx * float(np.cos(e)), dy * float(np.cos(e)), float(np.sin(e)))
    return Light(sun, shadow, np.asarray(1 / (1 + 0.6 * depth), np.float32))


def render_view(scene: Scene, options: ViewOptions, seed: int, size: tuple[int, int] | None = None,
                light: Light | None = None) -> Rendering:
    """One view; `size` (width, height) in pixels, by default what covers the area of interest."""
    size = size or covering_size(scene, options)
    exact = pushbroom(scene.centre, size, options)
    low, high = scene.heights
    camera, error = vendor_rpc(exact, size, (low - _RPC_MARGIN, high + _RPC_MARGIN))
    light = light or light_of(scene, options.sun_azimuth, options.sun_elevation)
    heights = (high + 1.0, low - 1.0)
    maxima, ends = block_maxima(scene.surface), ray_lattice(scene, exact, size, heights)
    truth, classes = np.empty(size[::-1], np.float32), np.empty(size[::-1], np.int8)
    cast_heights((scene.surface, scene.classes), maxima, ends, _LATTICE_PX, heights, truth, classes)
    radiance = _radiance(scene, light, ends, heights, size[::-1], maxima)
    image = digitise(radiance, options, np.random.default_rng([seed, 2]))
    image[np.isnan(truth)] = 0
    return Rendering(image, truth, classes, camera, exact, error, options)


def _radiance(scene: Scene, light: Light, ends: F64, heights: tuple[float, float], shape: tuple[int, int],
              maxima: tuple[F32, F32] | None = None) -> F32:
    """Panchromatic radiance (h, w) along the lines of sight of a lattice (see `ray_lattice`)."""
    out = np.zeros((1, *shape), np.float32)
    maxima = block_maxima(scene.surface) if maxima is None else maxima
    top, side = (np.ascontiguousarray((m @ PAN)[:, None]) for m in reflectances())
    layers = (scene.surface, scene.classes, scene.material, scene.albedo, light.shadow, light.openness)
    sky, beam = (np.array([v @ PAN], np.float32) for v in (_SKY, _BEAM))
    shade(layers, maxima, ends, _LATTICE_PX, heights, scene.grid.step, top, side, light.sun, sky, beam, _SAMPLES, out)
    return np.asarray(out[0])


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


def ray_lattice(scene: Scene, exact: Pushbroom, size: tuple[int, int], heights: tuple[float, float]) -> F64:
    """(ny, nx, 4): (x, y) in cells of the scene at the two heights (m), for pixels every _LATTICE_PX from (0, 0).

    A line of sight is straight in map coordinates and heights to well below a millimetre over a scene's heights.
    """
    nodes = [np.arange(-(-n // _LATTICE_PX) + 1) * float(_LATTICE_PX) for n in size]
    col, row = np.meshgrid(*nodes)
    out: list[Any] = []
    for h in heights:
        x, y = scene.to_map(*exact.localise(col, row, h), h)
        out += [(x - scene.grid.x0) / scene.grid.step - 0.5, (scene.grid.y0 - y) / scene.grid.step - 0.5]
    return np.ascontiguousarray(np.stack(out, axis=-1))


def digitise(radiance: F32, options: ViewOptions, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Point spread, gain, shot and read noise, quantisation."""
    if options.psf > 0:
        radiance = cv2.GaussianBlur(radiance, (0, 0), options.psf, borderType=cv2.BORDER_REFLECT)
    full = 2**options.bits - 1
    signal = radiance * (options.gain / _FULL_SCALE)
    # 1.0 = a full well of 40 000 electrons and a read noise of 30: signal to noise about 90 in the middle greys
    deviation = options.noise * np.sqrt(np.maximum(signal, 0) / 40000.0 + (30.0 / 40000.0) ** 2)
    signal = signal + deviation * rng.standard_normal(signal.shape, np.float32)
    return np.clip(np.rint(signal * full), 1, full).astype(np.uint16)  # 0 is kept for "no data"


def orthoimage(scene: Scene, light: Light, grid: Grid) -> NDArray[np.uint16]:
    """True orthoimage (h, w) at 11 bits: the scene from straight above, at the cell centres of a ground grid."""
    high, low = scene.heights[1] + 1.0, scene.heights[0] - 1.0
    step = grid.step / scene.grid.step
    nodes = [step * (0.5 + _LATTICE_PX * np.arange(-(-n // _LATTICE_PX) + 1)) - 0.5 for n in (grid.width, grid.height)]
    x = nodes[0] + (grid.x0 - scene.grid.x0) / scene.grid.step
    x, y = np.meshgrid(x, nodes[1] + (scene.grid.y0 - grid.y0) / scene.grid.step)
    radiance = _radiance(scene, light, np.ascontiguousarray(np.stack([x, y, x, y], axis=-1)), (high, low), grid.shape)
    return digitise(radiance, ViewOptions(noise=0.0, psf=0.0), np.random.default_rng(0))
