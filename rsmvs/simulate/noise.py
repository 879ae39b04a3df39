"""Band-limited random fields: terrain, textures, rough crowns."""

from __future__ import annotations

import cv2
import numpy as np

from rsmvs.types import F32

_COARSE = 4


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], wavelength: float) -> F32:
    """Field (h, w) of zero mean and unit deviation that varies over about `wavelength` cells.

    Values of a random lattice, interpolated cubically: cheap, and each lattice is turned its own way, so that no
    direction shows.
    """
    if wavelength >= _COARSE * 6:  # made on a coarser grid, ten times as fast, with no visible difference
        small = smooth_noise(rng, (shape[0] // _COARSE + 2, shape[1] // _COARSE + 2), wavelength / _COARSE)
        large = cv2.resize(small, None, fx=_COARSE, fy=_COARSE, interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(large[: shape[0], : shape[1]])
    step = max(wavelength / 2, 1.0)
    if step == 1.0:
        return rng.standard_normal(shape, np.float32)
    side = int(np.ceil(np.hypot(*shape) / step)) + 4
    lattice = rng.standard_normal((side, side), np.float32)
    angle, (dx, dy) = rng.uniform(0, np.pi / 2), rng.uniform(0, 1, 2)  # no two lattices lie alike
    c, s = np.cos(angle) / step, np.sin(angle) / step
    x0, y0 = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    to_lattice = np.array([[c, -s, side / 2 + dx - c * x0 + s * y0], [s, c, side / 2 + dy - s * x0 - c * y0]])
    out = cv2.warpAffine(
        lattice, to_lattice, (shape[1], shape[0]), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(out / 0.78, np.float32)  # the cubic kernel keeps about 0.78 of the deviation


def fractal_noise(
    rng: np.random.Generator, shape: tuple[int, int], wavelength: float, octaves: int, gain: float = 0.5
) -> F32:
    """Sum of octaves from `wavelength` cells downwards, each `gain` times the one before, of about unit deviation."""
    total = np.zeros(shape, np.float32)
    power = 0.0
    for k in range(octaves):
        total += gain**k * smooth_noise(rng, shape, wavelength / 2**k)
        power += gain ** (2 * k)
    return np.asarray(total / np.sqrt(power), np.float32)
