"""Large references in windows: each is matched for itself, and their heights are blended over the overlap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rsmvs.geometry.windows import window_of_warp
from rsmvs.networks.matcher import Heights, Source, ViewStack
from rsmvs.types import F32, Window

_SOURCE_MARGIN = 32  # px around what a window's warp reaches: the receptive field of the features
_ALIGNMENT = 32  # px: windows start where the coarsest cells start


def starts(size: int, window: int, overlap: int) -> list[int]:
    """First pixels of the windows that cover `size` pixels, each `window` long, overlapping by `overlap` or more."""
    if size <= window:
        return [0]
    stride = max((window - overlap) // _ALIGNMENT, 1) * _ALIGNMENT
    return [*range(0, size - window, stride), size - window]


def match_in_windows(stack: ViewStack, match: Callable[[ViewStack], Heights], window: int, overlap: int) -> Heights:
    """`match` on windows of at most window x window pixels; blended with weights that fall linearly to the rims."""
    h, w = stack.image.shape
    if h <= window and w <= window:
        return match(stack)
    overlap = min(overlap, window // 2)
    sums = np.zeros((4, h, w), np.float32)  # of height, sigma, confidence and weight
    classes: F32 | None = None
    for r in starts(h, window, overlap):
        for c in starts(w, window, overlap):
            part = cut(stack, r, c, min(window, h), min(window, w))
            found = match(part)
            ph, pw = part.image.shape
            share = ramp(ph, pw, overlap)
            if found.classes is not None:
                classes = np.zeros((len(found.classes), h, w), np.float32) if classes is None else classes
                classes[:, r : r + ph, c : c + pw] += np.nan_to_num(found.classes) * share
            weight = np.where(np.isfinite(found.height), share, np.float32(0))
            block = sums[:, r : r + ph, c : c + pw]
            for i, values in enumerate((found.height, found.sigma, found.confidence)):
                block[i] += np.where(weight > 0, np.nan_to_num(values), 0) * weight
            block[3] += weight
    known = sums[3] > 0
    height, sigma, confidence = (s / np.where(known, sums[3], 1) for s in sums[:3])
    nothing = np.float32(np.nan)
    if classes is not None:
        total = classes.sum(0)
        classes = np.divide(classes, total, out=np.full_like(classes, np.nan), where=total > 0)
    return Heights(np.where(known, height, nothing), np.where(known, confidence, 0), np.where(known, sigma, nothing), classes)


def cut(stack: ViewStack, row: int, col: int, height: int, width: int, keep_all: bool = False) -> ViewStack:
    """The stack of a window of the reference, with the parts of the sources that its warp reaches.

    keep_all: sources that do not see the window stay, as a patch without data: batches need equally many.
    """
    rows, cols = slice(row, row + height), slice(col, col + width)
    sources = []
    for image, field in stack.sources:
        reached = window_of_warp(field, Window(col, row, width, height), stack.height_range, _SOURCE_MARGIN)
        box = reached.clipped(image.shape[1], image.shape[0])
        if box.width > _SOURCE_MARGIN and box.height > _SOURCE_MARGIN:
            part = image[box.row : box.row + box.height, box.col : box.col + box.width]
            sources.append(Source(part, field.moved(col, row, box.col, box.row)))
        elif keep_all:
            nothing = np.full((_SOURCE_MARGIN, _SOURCE_MARGIN), np.nan, np.float32)
            sources.append(Source(nothing, field.moved(col, row, reached.col, reached.row)))
    prior = None if stack.prior is None else stack.prior[rows, cols]
    rdm = None if stack.rdm is None else stack.rdm[:, rows, cols]
    return ViewStack(stack.image[rows, cols], tuple(sources), stack.height_range, stack.gsd, prior, rdm)


def ramp(h: int, w: int, overlap: int) -> F32:
    """(h, w) weights that rise linearly from the rim over the overlap, above zero everywhere."""

    def side(n: int) -> F32:
        inside = np.minimum(np.arange(n), np.arange(n)[::-1]) + 1.0
        return np.minimum(inside / max(overlap, 1), 1.0).astype(np.float32)

    return side(h)[:, None] * side(w)[None, :]
