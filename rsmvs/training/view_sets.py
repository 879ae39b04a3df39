"""Samples from images with cameras: windows, warp fields, GSD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsmvs.errors import CoverageError
from rsmvs.geometry.viewing import viewing_angles
from rsmvs.geometry.warp import build_warp_field
from rsmvs.geometry.windows import window_of_warp
from rsmvs.types import F32, Camera, Sample, Warp, Window

_MARGIN = 32  # px around what the warp reaches: the receptive field of the features


class Shot(NamedTuple):
    """image: (h, w), NaN without data; camera: of its pixels."""

    image: F32
    camera: Camera


def view_set(
    name: str, shots: Sequence[Shot], heights: F32, height_range: tuple[float, float], *, window: Window | None = None,
    classes: NDArray[np.int16] | None = None, rdm: F32 | None = None,
) -> Sample:
    """The sample of a window (the whole image by default) of the first shot and of what the others show of it.

    heights, classes, rdm: of the window. height_range: of the search, metres.
    """
    reference, *sources = shots
    window = window or Window(0, 0, reference.image.shape[1], reference.image.shape[0])
    if heights.shape != window.shape:
        raise CoverageError(name, f"heights of {heights.shape} do not fit a window of {window.shape}", "check the data set")
    images, warps = [_part(reference.image, window)], list[Warp]()
    for shot in sources:
        field = build_warp_field(reference.camera, shot.camera.project, window, height_range)
        seen = window_of_warp(field, window, height_range, _MARGIN).clipped(shot.image.shape[1], shot.image.shape[0])
        if seen.width == 0 or seen.height == 0:
            raise CoverageError(name, "a source does not see the reference's window", "check the cameras, or leave it out")
        images.append(_part(shot.image, seen))
        warps.append(field.moved(window.col, window.row, seen.col, seen.row))
    gsd = viewing_angles(reference.camera, reference.image.shape[1], reference.image.shape[0], sum(height_range) / 2).gsd
    return Sample(name, tuple(images), tuple(warps), heights, classes, rdm, height_range, gsd)


def _part(image: F32, window: Window) -> F32:
    return np.ascontiguousarray(image[window.row : window.row + window.height, window.col : window.col + window.width])
