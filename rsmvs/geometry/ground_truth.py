"""A DSM with classes, seen by a camera: height and class per pixel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rsmvs.geometry.grid import Grid
from rsmvs.geometry.ground import map_projection
from rsmvs.geometry.heightfield import LATTICE_PX, block_maxima, cast_heights, ray_lattice
from rsmvs.types import F32, UNLABELLED, Sight


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """surface: (h, w) ellipsoidal metres, NaN where unknown; classes: (h, w) index into CLASS_NAMES, or None."""

    crs: str
    grid: Grid
    surface: F32
    classes: NDArray[Any] | None

    @cached_property
    def _closed(self) -> tuple[F32, NDArray[np.int8]]:
        """The surface without holes, and labels with -2 on what was a hole: rays meet holes and come back empty."""
        known = np.isfinite(self.surface)
        labels = np.full(known.shape, UNLABELLED, np.int8) if self.classes is None else self.classes.astype(np.int8)
        if known.all():
            return np.ascontiguousarray(self.surface, np.float32), labels
        i, j = distance_transform_edt(~known, return_distances=False, return_indices=True)
        return np.ascontiguousarray(self.surface[i, j], np.float32), np.where(known, labels, np.int8(-2))

    def in_view(self, sight: Sight, size: tuple[int, int]) -> tuple[F32, NDArray[np.int16] | None]:
        """Heights (h, w), NaN where unknown, and classes of an image of `size` (width, height); hidden ground is hidden."""
        surface, labels = self._closed
        high, low = float(surface.max()) + 1.0, float(surface.min()) - 1.0
        ends = ray_lattice(sight, map_projection(self.crs), self.grid, size, (high, low))
        heights, classes = np.empty(size[::-1], np.float32), np.empty(size[::-1], np.int8)
        cast_heights((surface, labels), block_maxima(surface), ends, LATTICE_PX, (high, low), heights, classes)
        heights[classes == -2] = np.nan
        found = np.where(np.isnan(heights), UNLABELLED, np.maximum(classes, UNLABELLED)).astype(np.int16)
        return heights, None if self.classes is None else found
