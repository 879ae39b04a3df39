"""Descriptor matching along the epipolar curves of two cameras.

The source position of a reference pixel is a curve in height, nearly straight over the heights of a scene. A match is
described in the frame of its curve: `along` px from the curve's middle towards larger heights, `across` px to its side.
An error of the cameras moves all matches of a pair across by the same few pixels (a smooth function of the position),
while along it only acts as a height; wrong matches scatter everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from rsmvs.adjust.features import Features
from rsmvs.geometry.warp import WarpField
from rsmvs.types import F32, F64

_SHORT_PX = 0.5  # a curve shorter than this has no direction: two images from the same place
_SAME_PX = 3.0  # features closer than this show the same thing: they do not count in the ratio test


class Curves(NamedTuple):
    """Epipolar curves of n reference pixels: middle (n, 2), unit direction (n, 2), half length (n,), all in px."""

    middle: F64
    direction: F64
    half: F64

    def local(self, xy: F64) -> tuple[F64, F64]:
        """(along, across) of source positions (n, 2)."""
        d = xy - self.middle
        along = d[:, 0] * self.direction[:, 0] + d[:, 1] * self.direction[:, 1]
        return along, d[:, 1] * self.direction[:, 0] - d[:, 0] * self.direction[:, 1]

    def take(self, index: np.ndarray) -> Curves:
        return Curves(self.middle[index], self.direction[index], self.half[index])


def curves_of(field: WarpField, xy: F64, height_range: tuple[float, float]) -> Curves:
    """The curves of reference pixels (n, 2) over the height range (m) of their field."""
    col, row = xy[:, 0], xy[:, 1]
    low, high = (np.stack(field(col, row, h), axis=1) for h in height_range)
    half = np.linalg.norm(high - low, axis=1) / 2
    direction = (high - low) / np.maximum(2 * half, 1e-9)[:, None]
    direction[half < _SHORT_PX / 2] = (1.0, 0.0)
    return Curves((low + high) / 2, direction, half)


@njit(cache=True, nogil=True)
def _best_in_gate(
    middle: F64, direction: F64, gate: F64, ref_desc: F32, src_xy: F64, src_desc: F32, best: np.ndarray, dots: F32
) -> None:
    """Best source feature of each reference feature (-1: none) within its gate; dots (n, 2) best and second-best.

    gate (n, 4): lowest and highest along, lowest and highest across. src_xy is sorted by row.
    """
    rows = np.ascontiguousarray(src_xy[:, 1])
    seen, value = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
    for i in range(len(middle)):
        best[i], dots[i, 0], dots[i, 1] = -1, -1.0, -1.0
        count, top = 0, -1
        down = gate[i, :2] * direction[i, 1]
        side = gate[i, 2:] * direction[i, 0]
        start = np.searchsorted(rows, middle[i, 1] + down.min() + side.min())
        stop = np.searchsorted(rows, middle[i, 1] + down.max() + side.max(), "right")
        for j in range(start, stop):
            dx, dy = src_xy[j, 0] - middle[i, 0], src_xy[j, 1] - middle[i, 1]
            along = dx * direction[i, 0] + dy * direction[i, 1]
            if along < gate[i, 0] or along > gate[i, 1]:
                continue
            across = dy * direction[i, 0] - dx * direction[i, 1]
            if across < gate[i, 2] or across > gate[i, 3]:
                continue
            seen[count], value[count] = j, np.dot(ref_desc[i], src_desc[j])
            if top < 0 or value[count] > value[top]:
                top = count
            count += 1
        if top < 0:
            continue
        b = seen[top]
        best[i], dots[i, 0] = b, value[top]
        for k in range(count):
            j = seen[k]
            far = abs(src_xy[j, 0] - src_xy[b, 0]) > _SAME_PX or abs(src_xy[j, 1] - src_xy[b, 1]) > _SAME_PX
            if far and value[k] > dots[i, 1]:
                dots[i, 1] = value[k]


def match_in_gate(
    curves: Curves, gate: F64, reference: Features, source: Features, ratio: float
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (k,), (k,) of matching features: best of each other among all that share a gate, and distinctly so.

    gate (n, 4) as in Curves.local: lowest and highest along, lowest and highest across, for each reference feature.
    The ratio is that of the Euclidean distances of the unit descriptors (Lowe 2004).
    """
    n = len(reference.xy)
    best, dots = np.empty(n, np.int64), np.empty((n, 2), np.float32)
    gate = np.ascontiguousarray(gate, np.float64)
    by_row = np.argsort(source.xy[:, 1], kind="stable")
    sorted_source = source.xy[by_row], source.descriptors[by_row]
    _best_in_gate(curves.middle, curves.direction, gate, reference.descriptors, *sorted_source, best, dots)
    best[best >= 0] = by_row[best[best >= 0]]
    first, second = 1 - dots[:, 0], 1 - dots[:, 1]  # half the squared distances
    good = (best >= 0) & (first < ratio * ratio * second)
    rivals = np.full(len(source.xy), -2.0, np.float32)
    np.maximum.at(rivals, best[best >= 0], dots[best >= 0, 0])
    good[good] &= dots[good, 0] >= rivals[best[good]]
    index = np.flatnonzero(good)
    return index, best[index]


class Offset(NamedTuple):
    """Where the matches of a pair lie: across = coefs . (1, x, y) with x, y = (xy - centre) / scale; along within `along`."""

    coefs: F64
    centre: F64
    scale: float
    along: tuple[float, float]
    support: int

    def across(self, xy: F64) -> F64:
        t = (xy - self.centre) / self.scale
        return self.coefs[0] + t @ self.coefs[1:]


def find_offset(xy: F64, along: F64, across: F64, search_px: float, min_matches: int) -> Offset | None:
    """The camera error that most matches share, or None where no value stands out of the scatter of wrong matches.

    xy (n, 2): reference pixels. The densest 4 px of `across` are taken first and must hold twice what chance puts there;
    a plane is then fitted to its surroundings, reweighted by Cauchy's function.
    """
    if len(xy) < min_matches:
        return None
    ordered = np.sort(across)
    width = 4.0
    count = np.searchsorted(ordered, ordered + width, "right") - np.arange(len(ordered))
    start = int(np.argmax(count))
    chance = len(xy) * width / (2 * search_px)
    if count[start] < max(min_matches, 2 * chance + 3 * np.sqrt(chance)):
        return None
    mode = float(np.median(ordered[start : start + count[start]]))
    centre, scale = xy.mean(axis=0), max(float(np.ptp(xy, axis=0).max()) / 2, 1.0)
    design = np.column_stack([np.ones(len(xy)), (xy - centre) / scale])
    coefs = np.array([mode, 0.0, 0.0])
    for reach in (4.0, 3.0, 2.0, 2.0, 2.0):
        residual = across - design @ coefs
        weight = np.where(np.abs(residual) < 2 * reach, 1 / (1 + (residual / (reach / 3)) ** 2), 0.0)
        normal = (design * weight[:, None]).T @ design + np.diag([0.0, 1.0, 1.0])  # few matches carry no drift
        coefs = np.linalg.solve(normal, (design * weight[:, None]).T @ across)
    inside = np.abs(across - design @ coefs) < 2.0
    if inside.sum() < min_matches:
        return None
    low, high = np.percentile(along[inside], [2, 98])
    margin = 3.0 + 0.25 * (high - low)
    return Offset(coefs, centre, scale, (float(low - margin), float(high + margin)), int(inside.sum()))
