"""Tracks: ground points with their image positions in two or more views, from the tie points of all views."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rsmvs.adjust.matching import TiePoints
from rsmvs.types import F64


@dataclass(frozen=True, eq=False)
class Tracks:
    """m observations of n points, sorted by point, then view.

    views: ids, sorted; point (m,), view (m,) indices; xy (m, 2) pixels of the view's image file.
    """

    views: tuple[str, ...]
    n: int
    point: np.ndarray
    view: np.ndarray
    xy: F64

    def usable(self, mask: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """The mask (m,) without the observations of points that it leaves with fewer than two (one, where `known` (n,))."""
        least = 2 if known is None else np.where(known, 1, 2)
        return mask & (np.bincount(self.point[mask], minlength=self.n) >= least)[self.point]

    def kept(self, mask: np.ndarray) -> Tracks:
        """The observations of a mask (m,), their points renumbered."""
        _, point = np.unique(self.point[mask], return_inverse=True)
        return Tracks(self.views, int(point.max(initial=-1)) + 1, point, self.view[mask], self.xy[mask])

    def shared(self) -> np.ndarray:
        """(v, v) number of points that two views share."""
        from scipy.sparse import coo_array  # matching does without

        seen = coo_array((np.ones(len(self.point)), (self.view, self.point)), shape=(len(self.views), self.n)).tocsr()
        return (seen @ seen.T).toarray().astype(np.int64)

    def networks(self, min_tracks: int) -> np.ndarray:
        """(v,) number of the network of each view: views hang together where they share at least min_tracks points."""
        from scipy.sparse.csgraph import connected_components

        return connected_components(self.shared() >= min_tracks, directed=False)[1]


def tracks_of(ties: Iterable[TiePoints], views: Sequence[str]) -> Tracks:
    """All stars of tie points as one set of tracks; the result does not depend on the order of stars or views.

    Stars are not joined into longer tracks: a position refined against one patch is not the same ground point, to a
    tenth of a pixel, as the corner that another view's star starts from.
    """
    ids = tuple(sorted(views))
    index = {v: i for i, v in enumerate(ids)}
    start, point, view, xy = 0, [], [], []
    for tie in sorted(ties, key=lambda t: t.view):
        n = len(tie.ref_xy)
        if tie.view not in index or n == 0:
            continue
        partner = np.array([index.get(p, -1) for p in tie.partners], np.int64)[tie.obs_partner]
        known = partner >= 0
        point += [start + np.arange(n), start + tie.obs_point[known]]
        view += [np.full(n, index[tie.view]), partner[known]]
        xy += [tie.ref_xy, tie.obs_xy[known]]
        start += n
    if not point:
        return Tracks(ids, 0, np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2)))
    p, v, c = np.concatenate(point), np.concatenate(view), np.concatenate(xy)
    order = np.lexsort((v, p))
    tracks = Tracks(ids, start, p[order], v[order], c[order])
    return tracks.kept(tracks.usable(np.ones(len(p), bool)))
