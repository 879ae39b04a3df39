"""From radiance to digital numbers: air, clouds, glitter, optics, sensor."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rsmvs.simulate.materials import PAN
from rsmvs.simulate.noise import fractal_noise
from rsmvs.simulate.options import ViewOptions
from rsmvs.types import F32

FULL_SCALE = 0.55  # radiance that fills the range of the sensor
BEAM = np.array([0.78, 0.85, 0.88, 0.92], np.float32)  # direct irradiance in blue, green, red, near infrared
SKY = np.array([0.38, 0.32, 0.28, 0.20], np.float32)
_HAZE = np.array([0.62, 0.5, 0.42, 0.3], np.float32)  # path radiance: blue most
_CLOUD = 0.62  # radiance of a cloud's top


def band_mix(bands: str) -> F32:
    """(4, c): the bands of a sensor from the four colours; RGB in that order."""
    if bands == "pan":
        return np.ascontiguousarray(PAN[:, None])
    return np.ascontiguousarray(np.eye(4, dtype=np.float32)[:, [2, 1, 0]])


def add_air(radiance: F32, options: ViewOptions, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """Haze and clouds over the radiance (c, h, w), in place; where clouds hide the ground (h, w), or None."""
    mix = band_mix(options.bands)
    if options.haze > 0:
        veil = options.haze * FULL_SCALE * (_HAZE @ mix)
        radiance *= 1 - 0.8 * options.haze
        radiance += veil[:, None, None].astype(np.float32)
    if options.clouds <= 0:
        return None
    shape = (radiance.shape[1], radiance.shape[2])
    field = fractal_noise(rng, shape, max(shape) / 2.2, 5, 0.55)
    edge = float(np.quantile(field[::4, ::4], 1 - options.clouds))
    cover = np.clip((field - edge) / 0.35 + 0.5, 0, 1)
    top = _CLOUD * (0.85 + 0.12 * np.clip(field - edge, -1, 2))
    radiance *= 1 - cover
    radiance += cover * top
    return np.asarray(cover > 0.15)


def add_glint(radiance: F32, water: NDArray[np.bool_], options: ViewOptions, rng: np.random.Generator) -> None:
    """The sky and the sun on waves: other in every view, so that water offers nothing to match. In place."""
    if not water.any():
        return
    i, a = np.radians(options.incidence), np.radians(options.azimuth)
    e, s = np.radians(options.sun_elevation), np.radians(options.sun_azimuth)
    view = np.array([np.sin(i) * np.sin(a), np.sin(i) * np.cos(a), np.cos(i)])
    sun = np.array([np.cos(e) * np.sin(s), np.cos(e) * np.cos(s), np.sin(e)])
    half = (view + sun) / np.linalg.norm(view + sun)
    tilt = np.tan(np.arccos(min(float(half[2]), 1.0)))  # slope of the waves that mirror the sun (Cox & Munk 1954)
    strength = 0.02 + options.glint * np.exp(-((tilt / 0.22) ** 2))
    shape = (radiance.shape[1], radiance.shape[2])
    waves = 1 + 0.6 * fractal_noise(rng, shape, 12.0, 3, 0.7)
    radiance += np.where(water, strength * 0.25 * np.clip(waves, 0, 4), 0).astype(np.float32)


def digitise(radiance: F32, options: ViewOptions, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Point spread, gain, shot and read noise, quantisation of (c, h, w). 0 is kept for "no data"."""
    if options.psf > 0:
        blurred = [cv2.GaussianBlur(b, (0, 0), options.psf, borderType=cv2.BORDER_REFLECT) for b in radiance]
        radiance = np.stack(blurred)
    full = 2**options.bits - 1
    signal = radiance * np.float32(options.gain / FULL_SCALE)
    # 1.0 = a full well of 40 000 electrons and a read noise of 30: signal to noise about 90 in the middle greys
    if options.noise > 0:
        deviation = np.sqrt(np.maximum(signal, 0) / np.float32(40000.0) + np.float32((30.0 / 40000.0) ** 2))
        signal += np.float32(options.noise) * deviation * rng.standard_normal(signal.shape, np.float32)
    if options.gamma != 1.0:
        signal = np.power(np.clip(signal, 0, 1), np.float32(options.gamma))
    return np.clip(np.rint(signal * full), 1, full).astype(np.uint16)
