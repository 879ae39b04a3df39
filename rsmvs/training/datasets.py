"""What stands between samples and batches: crops, search ranges, views, relative depth made from the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from rsmvs.network_options import DataOptions
from rsmvs.networks.tensors import stack_of
from rsmvs.networks.windows import cut
from rsmvs.types import F32, Sample

_ORACLE_BLURS = (0.0, 2.0, 8.0)  # px, as the stage's


class Crops(Sequence[Sample]):
    """Random crops of samples, number i from the seed and i alone: crop i % n of sample i // n.

    A crop brings its own search range, as a tile has its own in use.
    """

    def __init__(self, samples: Any, options: DataOptions, seed: int = 0) -> None:
        self.samples, self.options, self.seed = samples, options, seed

    def __len__(self) -> int:
        return len(self.samples) * self.options.crops_per_sample

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        dice = np.random.default_rng([self.seed, index])
        sample = self.samples[index // self.options.crops_per_sample]
        if self.options.view_num:
            sample = _with_views(sample, self.options.view_num, dice)
        if self.options.rdm == "oracle":
            sample = replace(sample, rdm=oracle_rdm(sample.heights, dice))
        elif self.options.rdm == "none":
            sample = replace(sample, rdm=None)
        return cropped(sample, self.options, dice)


def _with_views(sample: Sample, n: int, dice: np.random.Generator) -> Sample:
    """The reference and n - 1 of its sources, in random order."""
    chosen = dice.permutation(len(sample.warps))[: n - 1]
    images = (sample.images[0], *(sample.images[i + 1] for i in chosen))
    return replace(sample, images=images, warps=tuple(sample.warps[i] for i in chosen))


def cropped(sample: Sample, options: DataOptions, dice: np.random.Generator) -> Sample:
    """A square of the reference with what the sources show of it, searched over `slack` more than its true heights."""
    h, w = sample.heights.shape
    side_h, side_w = min(options.crop, h), min(options.crop, w)
    r, c = int(dice.integers(0, h - side_h + 1)), int(dice.integers(0, w - side_w + 1))
    area = slice(r, r + side_h), slice(c, c + side_w)
    heights = sample.heights[area]
    low, high = sample.height_range
    if np.isfinite(heights).any():
        below, above = dice.random(2) * options.slack
        low = max(low, float(np.nanmin(heights)) - below - 2 * sample.gsd)
        high = min(high, float(np.nanmax(heights)) + above + 2 * sample.gsd)
    stack = cut(replace(stack_of(sample), height_range=(low, high)), r, c, side_h, side_w, keep_all=True)
    classes = None if sample.classes is None else sample.classes[area]
    images = (stack.image, *(s.image for s in stack.sources))
    warps = tuple(s.field for s in stack.sources)
    return Sample(sample.id, images, warps, heights, classes, stack.rdm, (low, high), sample.gsd, stack.prior)


def oracle_rdm(heights: F32, dice: np.random.Generator) -> F32:
    """(3, h, w): what a good monocular network might say, made from the truth.

    A random monotone distortion of the heights, a smooth error of the terrain's form, and noise; then three blurs.
    """
    known = np.isfinite(heights)
    filled = np.where(known, heights, np.median(heights[known]) if known.any() else 0.0)
    scale = max(float(np.std(filled)), 1e-3)
    relative = np.tanh((filled - np.median(filled)) / (scale * dice.uniform(1.5, 4)))
    smooth = gaussian_filter(dice.normal(size=heights.shape), min(heights.shape) / 6)
    relative = relative + dice.uniform(0, 0.3) * smooth / max(float(np.std(smooth)), 1e-6) * float(np.std(relative))
    relative = gaussian_filter(relative, dice.uniform(0.3, 1.0)) + dice.normal(0, 0.02, heights.shape)
    return np.stack([gaussian_filter(relative, b) if b else relative for b in _ORACLE_BLURS]).astype(np.float32)
