"""Classes on their way through a tile: bands of the references' rasters, votes, codes in rasters and points.

Layers of matchers without classes pass through untouched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsmvs.fusion.semantics import ClassVote, Vote, seen_classes
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.warp import WarpField
from rsmvs.stages.tile import Layer, field_onto
from rsmvs.types import CLASS_CODES, CLASS_NAMES, F32

_PROBABILITY = tuple(f"p_{name}" for name in CLASS_NAMES)  # bands, in the order of CLASS_NAMES
_CODES = np.array([*CLASS_CODES, 0], np.uint8)  # by index; -1, without votes, is the last: no data
_UNCLASSIFIED = CLASS_CODES[-1]


def class_bands(probabilities: F32) -> dict[str, F32]:
    """Bands of a reference from its (c, h, w) probabilities."""
    return dict(zip(_PROBABILITY, probabilities, strict=True))


def class_probabilities(layer: Layer) -> F32 | None:
    """(c, h, w), or None where the matcher gave none."""
    return np.stack([layer.bands[n] for n in _PROBABILITY]) if _PROBABILITY[0] in layer.bands else None


def voted_bands(
    layer: Layer, others: Sequence[Layer], there: Sequence[WarpField], agrees: NDArray[np.uint32]
) -> dict[str, F32]:
    """The probabilities, and the vote of the reference and the views that agree with its heights.

    there: from this reference's window to those of the others; agrees: bit k set where other k does.
    Bands: class (index), class_votes (how many views voted), vote_margin.
    """
    own = class_probabilities(layer)
    if own is None:
        return {}
    height = layer.bands["height"]
    vote = ClassVote(len(own), height.shape)
    vote.feed(own, np.isfinite(height))
    for k, (other, field) in enumerate(zip(others, there, strict=True)):
        classes = class_probabilities(other)
        if classes is not None:
            vote.feed(seen_classes(height, field, classes), (agrees >> np.uint32(k)) & np.uint32(1) > 0)
    found = vote.result()
    label = np.where(found.label >= 0, found.label, np.nan).astype(np.float32)
    return {**class_bands(own), "class": label, "class_votes": found.votes.astype(np.float32), "vote_margin": found.margin}


def point_codes(layer: Layer) -> NDArray[np.uint8]:
    """(h, w) LAS codes of a reference's points: the voted class, unclassified without one."""
    label = layer.bands.get("class")
    if label is None:
        return np.full(layer.window.shape, _UNCLASSIFIED, np.uint8)
    codes = _CODES[np.where(np.isfinite(label), label, -1).astype(np.int8)]
    return np.where(codes > 0, codes, _UNCLASSIFIED).astype(np.uint8)


def point_margins(layer: Layer) -> F32:
    """(h, w) margin of the vote of a reference's points, 0 to 1; NaN without votes."""
    return layer.bands.get("vote_margin", np.full(layer.window.shape, np.nan, np.float32))


def vote_of_cells(
    height: F32, layers: Sequence[Layer], height_range: tuple[float, float], crs: str, grid: Grid, bound: float
) -> Vote | None:
    """Votes of the references that hold the surface: at the pixel that shows a cell, their own height lies within `bound` (m)
    of it. None where none has classes.

    height: (h, w) of the surface as it is written, NaN without one. A refinement may have moved it off all drawn heights.
    """
    vote = None
    for layer in layers:
        classes = class_probabilities(layer)
        if classes is None:
            continue
        vote = vote or ClassVote(len(CLASS_CODES), height.shape)
        field = field_onto(layer.view, layer.window, grid, crs, height_range)
        own, *shown = seen_classes(height, field, np.concatenate([layer.bands["height"][None], classes]))
        vote.feed(np.stack(shown), np.abs(own - height) <= bound)  # false where either is NaN
    return None if vote is None else vote.result()


def class_rasters(vote: Vote, known: NDArray[np.bool_]) -> dict[str, Any]:
    """Rasters of a tile: LAS codes, 0 without height or votes, how many views voted, and the margin of the vote."""
    labelled = known & (vote.label >= 0)
    codes = np.where(labelled, _CODES[vote.label], 0).astype(np.uint8)
    votes = np.where(labelled, vote.votes, 0).astype(np.uint8)
    return {"semantic": codes, "class_votes": votes, "vote_margin": np.where(labelled, vote.margin, np.nan).astype(np.float32)}
