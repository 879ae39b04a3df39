"""Tie points of one view with others: SIFT guided by the cameras, verified, refined to a fraction of a pixel.

For each window of the reference: features; for each partner, a first search within the whole possible camera error, the
camera error that most matches share, a second search around it, and least-squares matching of small patches. All
partners are matched to the same features and the same patches, so a feature with its partners' positions is a track.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rsmvs.adjust.features import Features, detect, spread_order
from rsmvs.adjust.guided import Offset, curves_of, find_offset, match_in_gate
from rsmvs.adjust.refine import refine_matches
from rsmvs.errors import CameraError
from rsmvs.geometry.warp import WarpField, build_warp_field
from rsmvs.options import MatchOptions
from rsmvs.types import F32, F64, Camera, Window

Reader = Callable[[Window], F32]  # pixels of a window of an image, NaN where there is no data

_FIELD_PX = 0.25  # the field only guides: positions come from the images
_SECOND_SEARCH_PX = 3.0
_FEATURES_PER_POINT = 4  # about one feature in four finds its partner
_REFINED_PER_POINT = 1.5  # not every match survives its refinement
_MAX_MOVE_PX = 3.0  # SIFT at half resolution is better than this
_MAX_SIGMA_PX = 0.3  # formal error of a refined position: rejects edges


class MatchView(NamedTuple):
    """What matching needs of a view. `read` answers any window, NaN outside the image."""

    id: str
    camera: Camera
    width: int
    height: int
    read: Reader


class PairResult(NamedTuple):
    """Tie points of a pair: feature index (n,) of the reference, source positions (n, 2), correlation (n,); and a note."""

    feature: np.ndarray
    src_xy: F64
    score: F64
    note: str


@dataclass(frozen=True, eq=False)
class TiePoints:
    """Tie points of one reference view with its partners, a star of observations.

    ref_xy (n, 2) pixels of the reference; for each of m observations its point, partner (index into `partners`), xy in
    the partner's pixels, and correlation. `notes`: per partner, why there are few or none; '' when all is well.
    """

    view: str
    partners: tuple[str, ...]
    ref_xy: F64
    obs_point: np.ndarray
    obs_partner: np.ndarray
    obs_xy: F64
    obs_score: F64
    notes: tuple[str, ...]


def match_view(
    reference: MatchView,
    partners: list[MatchView],
    height_range: tuple[float, float],
    options: MatchOptions,
) -> TiePoints:
    """Tie points of a view with each partner. height_range (m): coarse, of the whole scene.

    A pair without overlap, without texture or with cameras that do not meet yields no points and a note.
    """
    windows = spread_windows(reference.width, reference.height, options.window)
    cache: dict[Window, Features] = {}
    xy_of: dict[Window, int] = {}
    results = [_match_pair(reference, p, windows, cache, height_range, options) for p in partners]
    ref_xy = np.concatenate([np.empty((0, 2)), *(f.xy for f in cache.values())])
    start = 0
    for window, found in cache.items():
        xy_of[window], start = start, start + len(found.xy)
    joined = [_join(r, xy_of) for r in results]
    return _star(reference.id, partners, ref_xy, joined, options.max_points)


def spread_windows(width: int, height: int, side: int) -> list[Window]:
    """The image in windows of at most `side`, ordered so that any first few lie far from each other."""
    nx, ny = -(-width // side), -(-height // side)
    w, h = -(-width // nx), -(-height // ny)
    cells = [(i, j) for i in range(ny) for j in range(nx)]
    chosen = [cells.pop(len(cells) // 2)]
    distance = {c: np.hypot(c[0] - chosen[0][0], c[1] - chosen[0][1]) for c in cells}
    while distance:
        cell = max(distance, key=lambda c: (distance[c], c))
        del distance[cell]
        chosen.append(cell)
        for c in distance:
            distance[c] = min(distance[c], np.hypot(c[0] - cell[0], c[1] - cell[1]))
    return [Window(j * w, i * h, w, h).clipped(width, height) for i, j in chosen]


def _match_pair(
    ref: MatchView,
    src: MatchView,
    windows: list[Window],
    cache: dict[Window, Features],
    height_range: tuple[float, float],
    options: MatchOptions,
) -> Mapping[Window, PairResult] | str:
    """Results by reference window, or the reason why there are none."""
    low = max(height_range[0], ref.camera.height_range[0], src.camera.height_range[0])
    high = min(height_range[1], ref.camera.height_range[1], src.camera.height_range[1])
    if not high > low:
        return "no common heights"
    views = []
    for window in windows:
        region = _region(ref, src, window, (low, high), options)
        if region is not None:
            views.append((window, *region))
        if len(views) == options.max_windows:
            break
    if not views:
        return "no overlap"
    count = max(_FEATURES_PER_POINT * options.max_points // len(views), 500)
    guided = [_Guided(ref, src, w, f, region, cache, (low, high), count) for w, f, region in views]
    offset = _first_search(guided, options)
    if offset is None:
        return f"no common shift among {sum(len(g.reference.xy) for g in guided)} features"
    limit = max(int(_REFINED_PER_POINT * options.max_points) // len(views), 100)
    results = {g.window: g.second_search(offset, limit, options) for g in guided}
    return _verified(results, guided, options)


def _region(
    ref: MatchView, src: MatchView, window: Window, heights: tuple[float, float], options: MatchOptions
) -> tuple[WarpField, Window] | None:
    """The warp field of a reference window and the part of the source that it can match, or None without overlap."""
    try:
        field = build_warp_field(ref.camera, src.camera.project, window, heights, _FIELD_PX)
    except CameraError:  # this part of the reference has no ground there; other windows may have
        return None
    t = np.linspace(0.0, 1.0, 9)
    c, r = np.meshgrid(window.col + t * window.width, window.row + t * window.height)
    u, v = (np.concatenate(a) for a in zip(*(field(c.ravel(), r.ravel(), h) for h in heights), strict=True))
    if not (np.isfinite(u).all() and np.isfinite(v).all()):
        return None
    low, high = np.floor([u.min(), v.min()]), np.ceil([u.max(), v.max()])
    size = high - low
    if size.max() > 8 * options.window:  # cameras that do not belong together
        return None
    region = Window(int(low[0]), int(low[1]), int(size[0]), int(size[1])).grown(int(options.search_px))
    region = region.clipped(src.width, src.height)
    return (field, region) if min(region.width, region.height) >= 2 * options.patch else None


class _Guided:
    """One reference window and its region of the source: features, curves, pixels for the time of this pair."""

    def __init__(
        self, ref: MatchView, src: MatchView, window: Window, field: WarpField, region: Window,
        cache: dict[Window, Features], heights: tuple[float, float], count: int,
    ) -> None:  # fmt: skip
        self.ref, self.src, self.window, self.region, self.field = ref, src, window, region, field
        if window not in cache:
            cache[window] = detect(ref.read(window), window, count)
        self.reference = cache[window]
        self.source = detect(src.read(region), region, 2 * count)
        self.curves = curves_of(field, self.reference.xy, heights)
        self.mid = sum(heights) / 2

    def first_search(self, options: MatchOptions) -> tuple[F64, F64, F64]:
        """(xy, along, across) of matches within the largest camera error."""
        s = options.search_px
        half = self.curves.half
        gate = np.column_stack([-half - s, half + s, np.full_like(half, -s), np.full_like(half, s)])
        a, b = match_in_gate(self.curves, gate, self.reference, self.source, options.ratio)
        return self.reference.xy[a], *self.curves.take(a).local(self.source.xy[b])

    def second_search(self, offset: Offset, limit: int, options: MatchOptions) -> PairResult:
        """Matches around the common shift, refined; few false candidates are left, so the ratio test costs few true ones."""
        across = offset.across(self.reference.xy)
        low, high = (np.full_like(across, a) for a in offset.along)
        gate = np.column_stack([low, high, across - _SECOND_SEARCH_PX, across + _SECOND_SEARCH_PX])
        a, b = match_in_gate(self.curves, gate, self.reference, self.source, options.ratio)
        a, b = a[:limit], b[:limit]  # features come spread: the first ones are, and they are the same for all partners
        ref_xy, src_xy = self.reference.xy[a], self.source.xy[b]
        curves = self.curves.take(a)
        height = self.mid + 0 * ref_xy[:, 0]
        jac = np.empty((len(a), 2, 2))
        for k, (dc, dr) in enumerate(((8.0, 0.0), (0.0, 8.0))):
            plus = np.stack(self.field(ref_xy[:, 0] + dc, ref_xy[:, 1] + dr, height), axis=1)
            minus = np.stack(self.field(ref_xy[:, 0] - dc, ref_xy[:, 1] - dr, height), axis=1)
            jac[:, :, k] = (plus - minus) / 16.0
        xy, score, sigma = self._refined(ref_xy, src_xy, jac, options.patch)
        moved = np.linalg.norm(xy - src_xy, axis=1)
        with np.errstate(invalid="ignore"):
            good = (score >= options.min_correlation) & (moved < _MAX_MOVE_PX) & (sigma < _MAX_SIGMA_PX)
        good &= np.abs(curves.local(xy)[1] - across[a]) < _SECOND_SEARCH_PX
        return PairResult(a[good], xy[good], score[good], "")

    def _refined(self, ref_xy: F64, src_xy: F64, jacobian: F64, patch: int) -> tuple[F64, F64, F64]:
        window = self.window.grown(patch)
        region = self.region.grown(patch)
        ref_0, src_0 = np.array([window.col, window.row]), np.array([region.col, region.row])
        pixels = self.ref.read(window), self.src.read(region)
        xy, score, sigma = refine_matches(*pixels, ref_xy - ref_0, src_xy - src_0, jacobian, patch)
        return xy + src_0, score, sigma


def _first_search(guided: list[_Guided], options: MatchOptions) -> Offset | None:
    found = [g.first_search(options) for g in guided]
    xy, along, across = (np.concatenate(a) for a in zip(*found, strict=True))
    return find_offset(xy, along, across, options.search_px, options.min_matches)


def _verified(
    results: dict[Window, PairResult], guided: list[_Guided], options: MatchOptions
) -> Mapping[Window, PairResult] | str:
    """Refined matches that agree, across their curves, with the plane through all of the pair."""
    parts = []
    for g in guided:
        r = results[g.window]
        parts.append((g.reference.xy[r.feature], *g.curves.take(r.feature).local(r.src_xy)))
    xy, along, across = (np.concatenate(a) for a in zip(*parts, strict=True))
    offset = find_offset(xy, along, across, _SECOND_SEARCH_PX * 4, options.min_matches)
    if offset is None:
        return f"only {len(xy)} matches agree with the cameras"
    residual = np.abs(across - offset.across(xy))
    limit = np.clip(3.5 * 1.4826 * np.median(residual), 0.5, 2.0)
    for g, (xy, _, across) in zip(guided, parts, strict=True):
        good = np.abs(across - offset.across(xy)) < limit
        r = results[g.window]
        results[g.window] = PairResult(r.feature[good], r.src_xy[good], r.score[good], "")
    kept = sum(len(r.feature) for r in results.values())
    return results if kept >= options.min_matches else f"only {kept} matches agree with the cameras"


def _join(result: Mapping[Window, PairResult] | str, start: dict[Window, int]) -> PairResult:
    """One pair's windows as one list, its features counted over all windows of the reference."""
    if isinstance(result, str):
        return PairResult(np.empty(0, np.int64), np.empty((0, 2)), np.empty(0), result)
    feature = np.concatenate([r.feature + start[w] for w, r in result.items()])
    src_xy, score = (np.concatenate([getattr(r, k) for r in result.values()]) for k in ("src_xy", "score"))
    return PairResult(feature.astype(np.int64), src_xy, score, "")


def _star(view: str, partners: list[MatchView], ref_xy: F64, pairs: list[PairResult], max_points: int) -> TiePoints:
    """All pairs of a reference as tracks: at most max_points per pair, spread, those seen by most views first."""
    _, first, place = np.unique(ref_xy, axis=0, return_index=True, return_inverse=True)
    place = first[place.ravel()]  # SIFT gives a corner one feature per orientation: one point
    rows = [(place[f], k, xy, s) for k, p in enumerate(pairs) for f, xy, s in zip(p.feature, p.src_xy, p.score, strict=True)]
    point = np.array([r[0] for r in rows], np.int64)
    partner = np.array([r[1] for r in rows], np.int64)
    xy, score = np.array([r[2] for r in rows]).reshape(-1, 2), np.array([r[3] for r in rows])
    order = np.lexsort((-score, partner, point))
    keep = order[np.r_[True, (np.diff(point[order]) != 0) | (np.diff(partner[order]) != 0)][: len(order)]]
    point, partner, xy, score = point[keep], partner[keep], xy[keep], score[keep]
    used, index, seen = np.unique(point, return_inverse=True, return_counts=True)
    rank = np.empty(len(used), np.int64)
    rank[spread_order(ref_xy[used], seen.astype(float), max_points)] = np.arange(len(used))
    chosen = np.zeros(len(point), bool)
    for k in range(len(partners)):
        mine = np.flatnonzero(partner == k)
        chosen[mine[np.argsort(rank[index[mine]], kind="stable")[:max_points]]] = True
    used, index = np.unique(point[chosen], return_inverse=True)
    notes = tuple(p.note for p in pairs)
    ids = tuple(p.id for p in partners)
    return TiePoints(view, ids, ref_xy[used], index, partner[chosen], xy[chosen], score[chosen], notes)
