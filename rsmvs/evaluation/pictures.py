"""Surfaces and images as pictures: hillshade, relief coloured by height, stretched grey."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsmvs.types import F32

RGB = NDArray[np.uint8]
EMPTY = (233, 233, 233)  # colour of cells without data
# Low to high: plain green, straw, brick, snow; light throughout, so that the shade of the relief stays visible.
RELIEF = np.array(
    [[98, 148, 112], [170, 190, 130], [231, 219, 165], [214, 160, 118], [190, 128, 122], [245, 243, 240]], np.float64
)
_LIGHTS = ((315.0, 0.6), (270.0, 0.2), (0.0, 0.2))  # azimuth (degrees), weight: no slope lies fully in the dark


def hillshade(heights: Any, step: float, altitude: float = 40.0, azimuth: float | None = None) -> F32:
    """Shade 0 to 1 (h, w) of a surface (m) of cells of `step` metres; NaN where a cell or its neighbours have no height.

    Light from `azimuth` (degrees clockwise from north) and `altitude` above the horizon; from three sides, mostly the
    north-west, when azimuth is not given. Reference: Horn (1981), Hill shading and the reflectance map.
    """
    down, east = np.gradient(np.asarray(heights, np.float64), step)
    normal_length = np.sqrt(1 + down**2 + east**2)
    shade = np.zeros(normal_length.shape)
    for light, weight in _LIGHTS if azimuth is None else ((azimuth, 1.0),):
        a, z = np.radians(light), np.radians(altitude)
        # light direction (east, north, up); surface normal (-dh/dx, -dh/dy, 1), rows run south
        cosine = (-east * np.sin(a) * np.cos(z) + down * np.cos(a) * np.cos(z) + np.sin(z)) / normal_length
        shade += weight * np.clip(cosine, 0, 1)
    return shade.astype(np.float32)


def relief_limits(heights: Any) -> tuple[float, float]:
    """Heights (m) of the ends of the relief's colours: 2 and 98 % of all."""
    heights = np.asarray(heights, np.float64)
    low, high = np.nanpercentile(heights, (2, 98)) if np.isfinite(heights).any() else (0.0, 1.0)
    return float(low), float(high)


def relief(heights: Any, step: float, limits: tuple[float, float] | None = None) -> RGB:
    """Hillshade coloured by height, (h, w, 3); limits: heights (m) of the ends of the colours, `relief_limits` when absent."""
    heights = np.asarray(heights, np.float64)
    if not np.isfinite(heights).any():
        return np.full((*heights.shape, 3), EMPTY, np.uint8)
    low, high = limits or relief_limits(heights)
    place = np.nan_to_num(np.clip((heights - low) / max(high - low, 1e-6), 0, 1)) * (len(RELIEF) - 1)
    colour = np.stack([np.interp(place, np.arange(len(RELIEF)), RELIEF[:, k]) for k in range(3)], -1)
    shade = hillshade(heights, step)
    light = np.nan_to_num(shade, nan=float(np.nanmedian(shade)) if np.isfinite(shade).any() else 0.64)
    flat = np.sin(np.radians(40.0))  # shade of level ground: its colour stays as it is
    out = np.clip(colour * (0.25 + 0.75 * (light / flat))[..., None], 0, 255).astype(np.uint8)
    out[~np.isfinite(heights)] = EMPTY
    return out


def stretched(image: Any) -> RGB:
    """An image (h, w) or (h, w, 3), NaN without data, each band stretched between 1 and 99 % of its values; (h, w, 3)."""
    image = np.asarray(image, np.float64)
    bands = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=-1)
    known = np.isfinite(bands).all(axis=-1)
    if not known.any():
        return np.full((*known.shape, 3), EMPTY, np.uint8)
    low, high = np.percentile(bands[known], (1, 99), axis=0)
    level = np.clip((bands - low) / np.maximum(high - low, 1e-6), 0, 1) ** 0.8 * 255  # a little gamma opens the shadows
    out = np.nan_to_num(level).astype(np.uint8)
    out[~known] = EMPTY
    return out


def diverging(values: Any, limit: float) -> RGB:
    """Signed values (h, w): blue below, white at, red above zero, full colour at +-limit."""
    values = np.asarray(values, np.float64)
    part = np.nan_to_num(np.clip(values / limit, -1, 1))
    strength = np.abs(part)[..., None]
    ends = np.where(part[..., None] < 0, np.array([33, 102, 172.0]), np.array([178, 24, 43.0]))
    out = (247 * (1 - strength) + ends * strength).astype(np.uint8)
    out[~np.isfinite(values)] = (150, 150, 150)
    return out


def ramp(values: Any, low: float, high: float) -> RGB:
    """Values (h, w) between low and high as dark blue, green, yellow; white without data."""
    from matplotlib import colormaps

    values = np.asarray(values, np.float64)
    place = np.nan_to_num(np.clip((values - low) / (high - low), 0, 1))
    out = (np.asarray(colormaps["viridis"](place))[..., :3] * 255).astype(np.uint8)
    out[~np.isfinite(values)] = EMPTY
    return out


def side_by_side(left: RGB, right: RGB, gap: int = 8) -> RGB:
    """Two pictures of equal height beside each other on white."""
    return np.concatenate([left, np.full((left.shape[0], gap, 3), 255, np.uint8), right], axis=1)
