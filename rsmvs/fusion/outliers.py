"""Wrong points: those that stand alone, where views agreed by chance, and those that the fused surface does not hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial import cKDTree

from rsmvs.types import F32, F64

NEIGHBOURS, SIGMAS = 8, 3.0


def outlying(xyz: F64, neighbours: int = NEIGHBOURS, sigmas: float = SIGMAS) -> NDArray[np.bool_]:
    """Which of the points (n, 3), in metres, lie farther from their neighbours than the others do, (n,).

    The mean distance to the nearest `neighbours` is compared with its mean over all points plus `sigmas` standard
    deviations: statistical outlier removal (Rusu et al. 2008, Towards 3D point cloud based object maps).
    """
    if len(xyz) <= neighbours:
        return np.zeros(len(xyz), bool)
    # the tree is cut at the middle, not at medians: built three times as fast, and the points are even
    tree = cKDTree(xyz - xyz.mean(axis=0), balanced_tree=False, compact_nodes=False)
    distance = tree.query(tree.data, k=neighbours + 1)[0][:, 1:].mean(axis=1)
    return distance > distance.mean() + sigmas * distance.std()


def off_surface(height: F64, row: NDArray[np.int64], col: NDArray[np.int64], surface: F32, bound: float) -> NDArray[np.bool_]:
    """Which points (n,) of a height (m) over the cells (row, col) of a surface (h, w) m it does not hold, (n,).

    They lie more than `bound` m above or below the heights of the 3x3 cells around theirs, or their cell has no height. The
    cells around count because a wall passes through all heights between its foot and its edge.
    """
    known = np.isfinite(surface)
    high = maximum_filter(np.where(known, surface, -np.inf), 3, mode="nearest")[row, col]
    low = minimum_filter(np.where(known, surface, np.inf), 3, mode="nearest")[row, col]
    return ~known[row, col] | (height > high + bound) | (height < low - bound)
