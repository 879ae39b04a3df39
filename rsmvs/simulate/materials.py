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
MATERIALS: dict[str, Material] = {
    "grass": Material((0.05, 0.10, 0.08, 0.42), (0.05, 0.09, 0.07, 0.3), 0.10, 0.12, 0.18),
    "soil": Material((0.12, 0.17, 0.23, 0.32), (0.10, 0.15, 0.20, 0.3), 0.10, 0.12, 0.16),
    "asphalt": Material((0.11, 0.12, 0.13, 0.15), (0.1, 0.1, 0.1, 0.12), 0.06, 0.07, 0.10),
    "concrete": Material((0.27, 0.30, 0.32, 0.36), (0.22, 0.24, 0.25, 0.3), 0.06, 0.07, 0.08),
    "gravel": Material((0.22, 0.25, 0.28, 0.32), (0.2, 0.2, 0.2, 0.25), 0.14, 0.07, 0.08),
    "tiles": Material((0.09, 0.13, 0.27, 0.36), _PLASTER, 0.09, 0.08, 0.05),
    "slate": Material((0.10, 0.11, 0.11, 0.14), _PLASTER, 0.09, 0.07, 0.05),
    "brown tiles": Material((0.08, 0.11, 0.17, 0.24), _BRICK, 0.09, 0.08, 0.05),
    "bitumen": Material((0.15, 0.16, 0.17, 0.20), _PLASTER, 0.10, 0.12, 0.09),
    "metal": Material((0.38, 0.40, 0.41, 0.44), (0.3, 0.33, 0.35, 0.4), 0.04, 0.06, 0.06),
    "white membrane": Material((0.48, 0.52, 0.54, 0.58), _PLASTER, 0.05, 0.07, 0.06),
    "broadleaf": Material((0.035, 0.075, 0.05, 0.46), (0.03, 0.05, 0.04, 0.3), 0.16, 0.12, 0.05),
    "conifer": Material((0.025, 0.05, 0.035, 0.32), (0.02, 0.03, 0.03, 0.2), 0.16, 0.12, 0.05),
    "water": Material((0.055, 0.06, 0.045, 0.02), (0.05, 0.05, 0.04, 0.02), 0.01, 0.02, 0.06),
}
INDEX = {name: i for i, name in enumerate(MATERIALS)}
PAN = np.array([0.14, 0.28, 0.33, 0.25], np.float32)  # response of a panchromatic band (450 to 850 nm) to the four colours


def texture_amplitudes() -> F32:
    """(material, 3) deviations of the fine, middle and broad texture."""
    return np.array([[m.fine, m.middle, m.broad] for m in MATERIALS.values()], np.float32)


def reflectances() -> tuple[F32, F32]:
    """(material, 4) of slopes and of walls."""
    return np.array([m.top for m in MATERIALS.values()], np.float32), np.array([m.side for m in MATERIALS.values()], np.float32)
