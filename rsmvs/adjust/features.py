"""SIFT features of image windows with holes, spread over the window.

Detection runs on the image averaged over 2 x 2 pixels: SIFT doubles its input first, so its finest blobs then have the
size of the image's point spread function, at a quarter of the cost. Sub-pixel positions come from `refine`, at full
resolution.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from rsmvs.types import F32, F64, Window

_CONTRAST = 0.01  # low: dark and hazy windows must not lose all their features; `spread` caps the others
_BORDER = 12  # pixels around missing data whose gradients are not the ground's
_STRETCH = (0.5, 99.5)  # percentiles that become black and white


class Features(NamedTuple):
    """xy (n, 2) (col, row) in the pixels of the image, descriptors (n, 128) RootSIFT of unit length, and the contrast
    (n,) of each."""

    xy: F64
    descriptors: F32
    response: F32

    @classmethod
    def none(cls) -> Features:
        return cls(np.empty((0, 2)), np.empty((0, 128), np.float32), np.empty(0, np.float32))


def detect(image: F32, window: Window, max_features: int) -> Features:
    """Features of a window, `image` (h, w) with NaN where there is no data; best of each part of the window first.

    A window without data or without texture has no features.
    """
    small, valid = _halved(image)
    if valid.sum() < 256:
        return Features.none()
    low, high = np.percentile(small[valid], _STRETCH)
    if not high > low:
        return Features.none()
    grey = np.where(valid, np.clip((small - low) / (high - low), 0.0, 1.0), 0.5)
    kernel = np.ones((_BORDER + 1, _BORDER + 1), np.uint8)
    mask = cv2.erode(valid.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    sift = cv2.SIFT_create(contrastThreshold=_CONTRAST)  # type: ignore[attr-defined]
    points, found = sift.detectAndCompute((grey * 255).round().astype(np.uint8), mask)
    if not points:
        return Features.none()
    xy = np.array([p.pt for p in points], np.float64) * 2 + 0.5 + [window.col, window.row]
    response = np.array([p.response for p in points], np.float32)
    keep = spread_order(xy, response, max_features)[:max_features]
    return Features(np.ascontiguousarray(xy[keep]), _root_sift(found[keep]), response[keep])


def _halved(image: F32) -> tuple[F32, np.ndarray]:
    """Means over 2 x 2 pixels and where they exist: NaN in one of the four makes a hole."""
    h, w = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    part = image[:h, :w]
    small = np.asarray((part[::2, ::2] + part[1::2, ::2] + part[::2, 1::2] + part[1::2, 1::2]) / 4, np.float32)
    return small, np.isfinite(small)


def _root_sift(found: F32) -> F32:
    """Arandjelovic & Zisserman (2012): the scalar product of the roots is the Hellinger kernel of the histograms."""
    total = np.maximum(found.sum(axis=1, keepdims=True), 1e-6)
    return np.ascontiguousarray(np.sqrt(found / total, dtype=np.float32))


def spread_order(xy: F64, rank: np.ndarray, count: int) -> np.ndarray:
    """Indices of all n points, the best (largest `rank`) of every cell of a lattice first, then the second-best ones.

    The lattice has about count / 4 cells over the extent of xy (n, 2). Ties are broken by position: the order does not
    depend on the order of the points.
    """
    if len(xy) == 0:
        return np.empty(0, np.int64)
    low, high = xy.min(axis=0), xy.max(axis=0)
    size = max(float(np.sqrt(np.prod(high - low + 1) / max(count / 4, 1))), 1.0)
    cell = ((xy - low) / size).astype(np.int64)
    cell_id = cell[:, 1] * (cell[:, 0].max() + 1) + cell[:, 0]
    order = np.lexsort((xy[:, 0], xy[:, 1], -rank, cell_id))
    first = np.r_[True, np.diff(cell_id[order]) != 0]
    starts = np.flatnonzero(first)
    place = np.arange(len(xy)) - np.repeat(starts, np.diff(np.r_[starts, len(xy)]))
    return order[np.lexsort((xy[order, 0], xy[order, 1], -rank[order], place))]
