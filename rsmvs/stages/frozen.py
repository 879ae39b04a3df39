"""An adjustment that stands: views added to a finished area are fitted to its cameras, which do not move.

So the tiles that the new views do not see keep their plans to the last bit. Each addition is a batch; what a tile's plan
may rest on (sparse points, shares of tie points) are the batches of the views that see it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ImageError, ManifestError
from rsmvs.io.manifests import json_text, read_json
from rsmvs.io.tiepoints import read_points
from rsmvs.io.views import read_views
from rsmvs.types import Camera, View


@dataclass(frozen=True, eq=False)
class Frozen:
    """views: by id, with the cameras that stand; report: their adjustment; points: as in points.npz."""

    views: Mapping[str, View]
    report: Mapping[str, Any]
    points: Mapping[str, Any]

    @property
    def next_batch(self) -> int:
        return 1 + max((v["batch"] for v in self.report["views"].values()), default=-1)

    def camera_of(self, view: View) -> Camera:
        """The camera that a view starts from: the one that stands, where there is one."""
        return self.views[view.id].camera if view.id in self.views else view.camera

    def keep(self, view: View) -> View:
        """The view with the cameras that stand."""
        kept = self.views[view.id]
        return replace(view, camera=kept.camera, colour_camera=kept.colour_camera)

    def joined_report(self, new: Mapping[str, Any]) -> dict[str, Any]:
        """The report of the new views with that of the frozen ones, as far as they are still there; figures over all
        tie points (before, after, moved_m) are those of the new ones."""
        there = set(new["views"])
        own = {name: entry for name, entry in self.report["views"].items() if name in there}
        pairs = [p for p in self.report["pairs"] if there.issuperset(p[:2])]
        pairs += [p for p in new["pairs"] if not (p[0] in own and p[1] in own)]
        by_views = Counter(self.report["tracks_by_views"]) + Counter(new["tracks_by_views"])
        return {
            **new,
            "views": {**new["views"], **own},
            "pairs": sorted(pairs),
            "tracks": self.report["tracks"] + new["tracks"],
            "tracks_by_views": dict(sorted(by_views.items())),
            "unmatched": sorted([*self.report["unmatched"], *new["unmatched"]]),
            "frozen": sorted(own),
        }

    def joined_points(self, new: Mapping[str, Any]) -> dict[str, Any]:
        return {name: np.concatenate([self.points[name], new[name]]) for name in new}


def camera_mark(camera: Camera) -> str:
    """What tells a camera from another, short."""
    return hashlib.sha256(json_text(camera.to_dict()).encode()).hexdigest()[:16]


def read_frozen(folder: str | Path | None, views: Sequence[View]) -> Frozen:
    """The adjustment in `folder` (none: an empty one) for those of `views` (with their given cameras) that it knows.

    ImageError when a view's given camera is not the one that was adjusted: it is another image.
    """
    if folder is None:
        return Frozen({}, {"views": {}, "pairs": [], "tracks": 0, "tracks_by_views": {}, "unmatched": []}, {})
    path = Path(folder) / "views.json"
    report = read_json(path).get("adjustment") or {"views": {}}
    known = {view.id: view for view in read_views(path)}
    for view in (v for v in views if v.id in known):
        entry = report["views"].get(view.id, {})
        if "given" not in entry:
            raise ManifestError(path, "was made by an older version", "adjust its views once more: rsmvs run --target adjust")
        if entry["given"] != camera_mark(view.camera):
            remedy = "give the new image another 'id', or leave out 'adjust.freeze'"
            raise ImageError(view.path, f"is not the image '{view.id}' of {path}: its camera is another", remedy)
    here = {v.id for v in views}
    return Frozen({k: v for k, v in known.items() if k in here}, report, read_points(path.with_name("points.npz")))
