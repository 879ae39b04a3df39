"""What surfaces look like: colour, texture at three scales, and what their vertical faces are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rsmvs.types import F32

Colour = tuple[float, float, float, float]  # reflectance in blue, green, red, near infrared


class Material(NamedTuple):
    """top, side: reflectance of slopes and of walls; fine, middle, broad: deviation of the texture relative to `top`."""

    top: Colour
    side: Colour
    fine: float
    middle: float
    broad: float


_PLASTER: Colour = (0.30, 0.36, 0.40, 0.45)
_BRICK: Colour = (0.14, 0.18, 0.28, 0.36)
_GREY: Colour = (0.22, 0.24, 0.25, 0.30)
MATERIALS: dict[str, Material] = {
    "grass": Material((0.05, 0.10, 0.08, 0.42), (0.05, 0.09, 0.07, 0.3), 0.08, 0.10, 0.16),
    "meadow": Material((0.06, 0.12, 0.11, 0.40), (0.05, 0.09, 0.07, 0.3), 0.09, 0.14, 0.22),
    "crop": Material((0.045, 0.11, 0.06, 0.50), (0.05, 0.09, 0.07, 0.3), 0.06, 0.07, 0.14),
    "stubble": Material((0.13, 0.20, 0.27, 0.38), (0.10, 0.15, 0.20, 0.3), 0.07, 0.08, 0.12),
    "soil": Material((0.11, 0.155, 0.21, 0.30), (0.10, 0.15, 0.20, 0.3), 0.08, 0.07, 0.14),
    "sand": Material((0.24, 0.32, 0.40, 0.46), (0.24, 0.30, 0.36, 0.4), 0.06, 0.09, 0.14),
    "rock": Material((0.17, 0.19, 0.21, 0.25), (0.16, 0.18, 0.2, 0.24), 0.14, 0.2, 0.22),
    "asphalt": Material((0.11, 0.12, 0.13, 0.15), (0.1, 0.1, 0.1, 0.12), 0.05, 0.08, 0.12),
    "concrete": Material((0.26, 0.29, 0.31, 0.35), _GREY, 0.06, 0.09, 0.10),
    "gravel": Material((0.22, 0.25, 0.28, 0.32), _PLASTER, 0.14, 0.09, 0.10),
    "tiles": Material((0.09, 0.13, 0.27, 0.36), _PLASTER, 0.09, 0.08, 0.05),
    "slate": Material((0.10, 0.11, 0.11, 0.14), _PLASTER, 0.09, 0.07, 0.05),
    "brown tiles": Material((0.08, 0.11, 0.17, 0.24), _BRICK, 0.09, 0.08, 0.05),
    "bitumen": Material((0.15, 0.16, 0.17, 0.20), _PLASTER, 0.10, 0.12, 0.10),
    "metal": Material((0.36, 0.38, 0.39, 0.42), (0.3, 0.33, 0.35, 0.4), 0.04, 0.06, 0.06),
    "blue metal": Material((0.30, 0.22, 0.15, 0.25), (0.3, 0.33, 0.35, 0.4), 0.04, 0.06, 0.06),
    "rust": Material((0.09, 0.12, 0.22, 0.30), _GREY, 0.08, 0.12, 0.08),
    "white membrane": Material((0.46, 0.50, 0.52, 0.56), _PLASTER, 0.05, 0.07, 0.07),
    "adobe": Material((0.20, 0.27, 0.34, 0.40), (0.2, 0.27, 0.33, 0.4), 0.07, 0.10, 0.08),
    "glass": Material((0.10, 0.11, 0.10, 0.12), (0.12, 0.13, 0.12, 0.14), 0.04, 0.05, 0.04),
    "broadleaf": Material((0.04, 0.09, 0.055, 0.46), (0.03, 0.05, 0.04, 0.3), 0.14, 0.10, 0.05),
    "conifer": Material((0.025, 0.05, 0.035, 0.32), (0.02, 0.03, 0.03, 0.2), 0.14, 0.10, 0.05),
    "scrub": Material((0.06, 0.10, 0.09, 0.34), (0.03, 0.05, 0.04, 0.3), 0.14, 0.10, 0.06),
    "water": Material((0.06, 0.07, 0.045, 0.02), (0.05, 0.05, 0.04, 0.02), 0.01, 0.02, 0.06),
}
INDEX = {name: i for i, name in enumerate(MATERIALS)}
PAN = np.array([0.14, 0.28, 0.33, 0.25], np.float32)  # response of a panchromatic band (450 to 850 nm) to the four colours
_PLANTS = ("grass", "meadow", "crop", "broadleaf", "scrub")


def texture_amplitudes() -> F32:
    """(material, 3) deviations of the fine, middle and broad texture."""
    return np.array([[m.fine, m.middle, m.broad] for m in MATERIALS.values()], np.float32)


class Palette(NamedTuple):
    """(material, 4) reflectance of slopes and of walls in blue, green, red, near infrared."""

    top: F32
    side: F32

    def in_bands(self, mix: F32) -> Palette:
        """(material, c): bands mixed from the four colours by `mix` (4, c)."""
        return Palette(*(np.ascontiguousarray(t @ mix, np.float32) for t in self))


def regional_palette(rng: np.random.Generator, variety: float, aridity: float) -> Palette:
    """The colours of one region. variety: how far they stray from the table; aridity (0 to 1): plants turn to straw."""
    top = np.array([m.top for m in MATERIALS.values()], np.float32)
    side = np.array([m.side for m in MATERIALS.values()], np.float32)
    for table in (top, side):
        table *= np.exp(variety * (0.22 * rng.standard_normal((len(table), 1)) + 0.035 * rng.standard_normal(table.shape)))
    return Palette(_faded(top, aridity), side)


def seasonal_palette(palette: Palette, season: float) -> Palette:
    """season (0 to 1): from full leaf to bare and dry."""
    return Palette(_faded(palette.top, season), palette.side)


def _faded(top: F32, share: float) -> F32:
    straw = np.array([0.10, 0.15, 0.19, 0.28], np.float32)
    out = top.copy()
    for name in _PLANTS:
        out[INDEX[name]] = (1 - share) * top[INDEX[name]] + share * straw * (0.7 if name in ("broadleaf", "scrub") else 1.0)
    return out
