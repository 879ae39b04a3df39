"""A scene known in closed form: smooth hills and roofs over a textured ground, seen by parallel oblique views.

The reference is a nadir view, pixel = ground cell; a source pixel is u = col + a h, v = row + b h. Without occlusion, so
that every pixel has an answer. For tests of matchers that need no camera.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from rsmvs.geometry.warp import WarpField
from rsmvs.types import Sample

SLOPES = ((0.5, 0.1), (-0.45, 0.15), (0.05, -0.5))  # px per metre of (u, v)


def field(slope: tuple[float, float], size: int, height_range: tuple[float, float], curve: float = 0.0) -> WarpField:
    """u = col + a (h - mid) + curve ((h - mid) / half)^2, v likewise without the curve."""
    mid, half = sum(height_range) / 2, (height_range[1] - height_range[0]) / 2
    coefs = np.zeros((2, 2, 3, 2))
    coefs[:, 1, 0, 0] = coefs[1, :, 0, 1] = size
    coefs[:, :, 1, 0], coefs[:, :, 1, 1], coefs[:, :, 2, 0] = slope[0] * half, slope[1] * half, curve
    return WarpField(coefs, np.array([0.0, 0.0, 1 / size, mid, 1 / half, 0.0, 0.0]), 0.0)


def sample(seed: int, size: int = 64, views: int = 3, height_range: tuple[float, float] = (80.0, 120.0)) -> Sample:
    rng = np.random.default_rng(seed)
    rim, mid = 32, sum(height_range) / 2
    n = size + 2 * rim
    relief = gaussian_filter(rng.normal(size=(n, n)), 10) * 60
    for _ in range(3):
        r, c, h, w = *rng.integers(rim // 2, n - rim, 2), *rng.integers(12, 24, 2)
        relief[r : r + h, c : c + w] += rng.uniform(4, 10)
    ground = np.clip(gaussian_filter(relief, 1.5), height_range[0] - mid + 4, height_range[1] - mid - 4)
    texture = 100 + 40 * gaussian_filter(rng.normal(size=(n, n)), 1.0) / 0.28

    def at(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return map_coordinates(values, [y + rim, x + rim], order=3, mode="reflect")

    rows, cols = np.mgrid[:size, :size].astype(float)
    images, warps = [at(texture, cols, rows)], []
    for a, b in SLOPES[: views - 1]:
        x, y = cols.copy(), rows.copy()
        for _ in range(40):  # the ground cell that a source pixel sees: a contraction, since slopes are mild
            h = at(ground, x, y)
            x, y = cols - a * h, rows - b * h
        images.append(at(texture, x, y))
        warps.append(field((a, b), size, height_range))
    heights = (ground[rim : rim + size, rim : rim + size] + mid).astype(np.float32)
    noisy = [(i + rng.normal(0, 0.5, i.shape)).astype(np.float32) for i in images]
    return Sample(f"analytic-{seed}", tuple(noisy), tuple(warps), heights, None, oracle_rdm(heights, rng), height_range, 0.5)


def oracle_rdm(heights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A monotone distortion of the true heights with noise, at three blurs."""
    relative = np.tanh((heights - heights.mean()) / 15) + rng.normal(0, 0.01, heights.shape)
    return np.stack([relative, gaussian_filter(relative, 2), gaussian_filter(relative, 4)]).astype(np.float32)


class Scenes:
    """A dataset of them."""

    def __init__(self, n: int, **options: object) -> None:
        self.n, self.options = n, options

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Sample:
        return sample(index, **self.options)  # type: ignore[arg-type]
