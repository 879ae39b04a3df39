"""The one matcher interface: a view stack in, heights out.

Every matcher is a function `match(stack: ViewStack, options) -> Heights`. It sees arrays and warp fields, never a camera
or a file. `sgm` needs no weights; the learned cascades and `mvsr3d` read theirs when they are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from rsmvs.geometry.warp import WarpField
from rsmvs.types import F32


class Source(NamedTuple):
    """A source view of a stack.

    image: (hs, ws) float32 of the source window, NaN for no data.
    field: from pixels (col, row) of the reference *window* and height (m) to pixels (col, row) of this *window*; the
    origins of both windows are folded in (`WarpField.moved`).
    """

    image: F32
    field: WarpField


@dataclass(frozen=True, eq=False)
class ViewStack:
    """What a matcher sees.

    image: (h, w) float32 of the reference window, NaN for no data.
    height_range: (low, high) of the search, ellipsoidal metres.
    gsd: metres of a reference pixel on the ground.
    prior: (h, w) height (m) to start from, NaN where there is none; None: search the whole range.
    rdm: (3, h, w) relative depth at three blurs, larger = nearer to the sensor, see `rsmvs.networks.rdm_fusion`.
    """

    image: F32
    sources: tuple[Source, ...]
    height_range: tuple[float, float]
    gsd: float
    prior: F32 | None = None
    rdm: F32 | None = None


@dataclass(frozen=True, eq=False)
class Heights:
    """What a matcher finds, on the pixels of the reference window.

    height: (h, w) float32 metres, NaN where there is none. confidence: (h, w) float32, 0 to 1, 0 where there is no height.
    sigma: (h, w) float32 metres, the matcher's own one-sigma, NaN where there is no height.
    classes: (c, h, w) float32 probabilities, or None. notes: what a user should know (a range outside the training
    domain, ...), for the ledger.
    """

    height: F32
    confidence: F32
    sigma: F32
    classes: F32 | None = None
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Heights:
        """The valid, empty answer."""
        nothing = np.full(shape, np.nan, np.float32)
        return cls(nothing, np.zeros(shape, np.float32), nothing.copy())

    def noting(self, note: str) -> Heights:
        """The same with one more note."""
        return replace(self, notes=(*self.notes, note))


class Matcher(Protocol):
    def __call__(self, stack: ViewStack, options: Any) -> Heights: ...
