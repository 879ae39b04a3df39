"""Multi-view semi-global matching: the model-free matcher.

A plane sweep in height over any number of sources, census costs on images warped through the warp fields, robustly
averaged over the sources, optimised along eight paths (Hirschmueller 2008), from coarse to fine with a search range per
pixel (Rothermel et al. 2012, tSGM), refined below the plane distance.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter, uniform_filter

from rsmvs.networks import sgm_kernels as kernels
from rsmvs.networks.matcher import Heights, Source, ViewStack
from rsmvs.options import SgmOptions
from rsmvs.types import F32

Indices = NDArray[Any]
_PATHS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1))
_SMOOTHED = 3  # px around a pixel that smooth it
_SURROUNDINGS = 63  # px, side of the window over which the usual contrast is taken
_EVEN = 1 / math.sqrt(12.0)  # one sigma of an even distribution over an interval
_TRUSTED = 5  # px, side of the window over which confidence is averaged


def match(stack: ViewStack, options: SgmOptions) -> Heights:
    """Heights of the reference window by semi-global matching; see `ViewStack` and `Heights`."""
    interval = plane_interval(stack, options.step_px)
    prior: F32 | None = None
    result = Heights.none(stack.image.shape)
    for level in reversed(range(options.levels)):
        part = at_scale(stack, 2**level)
        low, high = _search_range(part, prior, interval * 2**level, options)
        result = _match_level(part, low, high, interval * 2**level, options)
        prior = result.height
    return result


def plane_interval(stack: ViewStack, step_px: float) -> float:
    """Distance of height planes (m): at most `step_px` in the source that moves most, rounded down to a power of sqrt 2
    metres, so that neighbouring windows use the same planes."""
    h, w = stack.image.shape
    middle = sum(stack.height_range) / 2
    slopes = [math.hypot(*(float(s) for s in src.field.slope(w / 2, h / 2, middle))) for src in stack.sources]
    fastest = max(max(slopes, default=0.0), 1e-3)
    return 2.0 ** (math.floor(2 * math.log2(step_px / fastest)) / 2)


def _sharpened(source: Source) -> Source:
    """The source at twice its resolution by cubic interpolation: bilinear reads of it nearly equal cubic reads."""
    image = cv2.resize(source.image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    return Source(image, source.field.magnified(2))


def at_scale(stack: ViewStack, factor: int) -> ViewStack:
    """The stack with all images averaged over factor x factor pixels; at factor 1 with sharpened sources."""
    if factor == 1:
        return replace(stack, sources=tuple(_sharpened(s) for s in stack.sources))
    sources = tuple(Source(_averaged(s.image, factor), s.field.at_scale(factor)) for s in stack.sources)
    return ViewStack(_averaged(stack.image, factor), sources, stack.height_range, stack.gsd * factor)


def _averaged(image: F32, factor: int) -> F32:
    h, w = -(-image.shape[0] // factor), -(-image.shape[1] // factor)
    padded = np.full((h * factor, w * factor), np.nan, np.float32)
    padded[: image.shape[0], : image.shape[1]] = image
    cells = padded.reshape(h, factor, w, factor)
    valid = np.isfinite(cells)
    count = valid.sum(axis=(1, 3))
    total = np.where(valid, cells, 0).sum(axis=(1, 3), dtype=np.float32)
    half = factor * factor / 2  # a cell at the border of the data stands for it when at least half is there
    return np.where(count >= half, total / np.maximum(count, 1), np.nan).astype(np.float32)


def _search_range(stack: ViewStack, prior: F32 | None, interval: float, options: SgmOptions) -> tuple[Indices, Indices]:
    """First and last plane index per pixel, (h, w) int32; last < first where nothing is to be searched."""
    shape = stack.image.shape
    floor, ceiling = math.floor(stack.height_range[0] / interval), math.ceil(stack.height_range[1] / interval)
    if prior is None:
        first, last = np.full(shape, floor, np.int32), np.full(shape, ceiling, np.int32)
    else:
        known = np.isfinite(prior)
        low = minimum_filter(np.where(known, prior, np.inf), options.neighbourhood)
        high = maximum_filter(np.where(known, prior, -np.inf), options.neighbourhood)
        some = np.isfinite(low)
        first = np.where(some, np.floor(np.where(some, low, 0) / interval) - options.margin, 1).astype(np.int32)
        last = np.where(some, np.ceil(np.where(some, high, 0) / interval) + options.margin, 0).astype(np.int32)
        first, last = np.maximum(first, floor), np.minimum(last, ceiling)
        first, last = (a.repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]] for a in (first, last))
    return first, np.where(np.isfinite(stack.image), last, first - 1)


def _match_level(stack: ViewStack, first: Indices, last: Indices, interval: float, options: SgmOptions) -> Heights:
    count = np.maximum(last - first + 1, 0).astype(np.int64)
    start = np.concatenate([[0], np.cumsum(count.ravel())])
    cost, missing = _cost_volume(stack, first, last, start, interval, options)
    image = np.where(np.isfinite(stack.image), stack.image, 0).astype(np.float32)
    contrast = _contrast(image)
    # The noise of the mean cost falls with the number of sources; so does the smoothness that has to hold against it.
    calm = len(stack.sources) ** -options.fading
    total = np.zeros(cost.size, np.uint16)
    edge = contrast * np.float32(options.contrast)
    for dr, dc in _PATHS:
        p1, p2 = round(options.p1 * calm), round(options.p2 * calm)
        kernels.aggregate(cost, start, first, image, dr, dc, p1, p2, edge, total)
    height, margin = np.empty(image.shape, np.float32), np.empty(image.shape, np.float32)
    kernels.winners(total, cost, start, first, interval, missing, height, margin)
    height = kernels.smooth(kernels.median3(height), image, _SMOOTHED, options.smoothing * interval, 2 * contrast)
    known = np.isfinite(height)
    # A lone good margin among bad ones is chance: their mean tells right from wrong far better (docs/matching.md).
    confidence = np.where(known, np.clip(uniform_filter(margin, _TRUSTED), 0, 1), 0).astype(np.float32)
    sigma = np.where(known, np.float32(interval * _EVEN), np.nan).astype(np.float32)
    return Heights(height, confidence, sigma)


def _contrast(image: F32) -> F32:
    """A grey-value step that counts as an edge, per pixel: 1.6 times the mean absolute gradient around it, which is the
    80th percentile of exponentially distributed gradients. Local, so that the window does not matter."""
    steps = np.abs(np.diff(image, axis=1, append=image[:, -1:]))
    return np.maximum(1.6 * uniform_filter(steps, _SURROUNDINGS), 1e-6).astype(np.float32)


def _cost_volume(
    stack: ViewStack, first: Indices, last: Indices, start: Indices, interval: float, options: SgmOptions
) -> tuple[kernels.Bytes, int]:
    """Ragged matching costs, filled block by block so that memory stays bounded, and the cost of what no source sees."""
    h, w = stack.image.shape
    rim = 3 if len(stack.sources) == 1 else 2  # census radius: a single pair needs the larger support
    weights = kernels.census_weights(rim)
    most = int(weights.sum())
    ceiling, unit = round(options.ceiling * most), kernels.COST_RANGE / most
    missing = math.ceil(unit * ceiling) + 1
    cost = np.full(int(start[-1]), missing, np.uint8)
    bh, bw = kernels.BLOCK_H, kernels.BLOCK_W
    padded = np.full((-(-h // bh) * bh + 2 * rim, -(-w // bw) * bw + 2 * rim), np.nan, np.float32)
    padded[rim : rim + h, rim : rim + w] = stack.image
    code = np.empty((len(weights), bh, bw), np.uint8)
    for r in range(0, h, bh):
        for c in range(0, w, bw):
            low, high = first[r : r + bh, c : c + bw], last[r : r + bh, c : c + bw]
            used = high >= low
            if not used.any():
                continue
            k0, k1 = int(low[used].min()), int(high[used].max())
            kernels.census(padded[r : r + bh + 2 * rim, c : c + bw + 2 * rim], rim, code)
            planes = interval * np.arange(k0, k1 + 1, dtype=np.float64)
            distances = np.empty((len(stack.sources), len(planes), bh, bw), np.uint8)
            for s, (image, field) in enumerate(stack.sources):
                kernels.block_distances(image, field.coefs, field.lattice, code, weights, r, c, planes, rim, distances[s])
            kernels.combine_block(distances, k0, r, c, start, first, ceiling, unit, missing, cost)
    return cost, missing
