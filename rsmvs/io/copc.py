"""Cloud-optimised point cloud (COPC 1.0): the scene's points in an octree that viewers load piece by piece.

Tiles are nodes of one level of the octree and come in Morton order, so that one tile and the open coarser nodes are in
memory, however large the scene is. A point's level follows from a hash of its place: every level is an even sample.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import copclib
import laspy
import numpy as np
from numpy.typing import NDArray

from rsmvs.geometry.grid import Bounds, Tile
from rsmvs.geometry.vertical import las_wkt
from rsmvs.io.manifests import atomic
from rsmvs.io.pointcloud import SCALE, Lowered, Points, cut_chunks, joined, las_header, opened_points, point_record
from rsmvs.types import F64

_NODE_POINTS = 30_000  # of a tile's finest nodes
Key = tuple[int, ...]  # level, x, y, z of a node
_BRANCHES = 4  # a surface has four times as many points a level


@dataclass(frozen=True)
class Octree:
    """The cube over a scene. corner: (x, y, z) metres; tile_level: level at which a node is as wide as a tile."""

    corner: tuple[float, float, float]
    side: float
    tile_level: int

    @classmethod
    def over(cls, tiles: Sequence[Tile], z_range: tuple[float, float]) -> Octree:
        size = tiles[0].size
        ix, iy = min(t.ix for t in tiles), min(t.iy for t in tiles)
        wide = max(max(t.ix for t in tiles) - ix, max(t.iy for t in tiles) - iy) + 1
        level = max(math.ceil(math.log2(wide)), math.ceil(math.log2(max((z_range[1] - z_range[0] + 2.0) / size, 1.0))))
        # one metre below the lowest point: its node is found in spite of rounding
        return cls((ix * size, iy * size, math.floor(z_range[0]) - 1.0), size * 2**level, level)

    def column(self, tile: Tile) -> tuple[int, int]:
        """(x, y) of a tile's node at the tile level."""
        return round(tile.bounds[0] / tile.size - self.corner[0] / tile.size), round(
            tile.bounds[1] / tile.size - self.corner[1] / tile.size
        )

    def keys(self, xyz: F64, levels: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 4) level, x, y, z of the node of each point."""
        cells = 2.0**levels
        place = np.floor((xyz - self.corner) / self.side * cells[:, None])
        return np.column_stack([levels, np.clip(place, 0, cells[:, None] - 1)]).astype(np.int64)


def write_copc(
    parts: Sequence[tuple[Tile, Path]], path: str | Path, *, bounds: Bounds, crs: Any, lowered: Lowered | None = None
) -> int:
    """The tiles' files as one COPC file, cut to `bounds`, heights less `lowered(x, y)` metres; the number of points.

    An area without any point gives a file with an empty root node.
    """
    octree = _octree(parts, bounds, lowered)
    with atomic(path) as part:
        out = _Writer(part, octree, las_header(bounds[:2], crs), crs)
        for tile, file in sorted(parts, key=lambda p: _morton(octree.column(p[0]))):
            chunks = list(cut_chunks(file, bounds, lowered))
            if chunks:
                out.close_nodes(octree.column(tile))
                out.add(joined(chunks), tile)
        return out.finish()


class _Writer:
    """Nodes of a COPC file; coarse ones stay open until no further tile adds to them."""

    def __init__(self, path: Path, octree: Octree, header: Any, crs: Any) -> None:
        self.octree, self.header = octree, header
        self.out = copclib.FileWriter(str(path), _config(octree, header, crs))
        self.open: dict[Key, list[Any]] = {}
        self.count, self.low, self.high = 0, np.full(3, np.inf), np.full(3, -np.inf)

    def add(self, points: Points, tile: Tile) -> None:
        """The points of one tile."""
        record = point_record(points, self.header).array
        xyz = np.stack([record[k] * SCALE + o for k, o in zip("XYZ", self.header.offsets, strict=True)], 1)
        # a point rounded onto the tile's rim stays in the tile's node: the neighbour's is written once, by its own tile
        within = np.clip(xyz[:, :2], tile.bounds[:2], np.array(tile.bounds[2:]) - SCALE / 2)
        keys = _grounded(self.octree, np.column_stack([within, xyz[:, 2]]), _levels(record, self.octree.tile_level))
        order = np.lexsort(keys.T[::-1])
        found, starts = np.unique(keys[order], axis=0, return_index=True)
        for key, rows in zip(found.tolist(), np.split(order, starts[1:]), strict=True):
            if key[0] < self.octree.tile_level:
                self.open.setdefault(tuple(key), []).append(record[rows])
            else:
                self._write(tuple(key), record[rows])
        self.count += len(record)
        self.low, self.high = np.minimum(self.low, xyz.min(0)), np.maximum(self.high, xyz.max(0))

    def close_nodes(self, column: tuple[int, int] | None) -> None:
        """Write the open nodes that the tile in `column` does not reach; all of them when it is None."""
        for key in sorted(self.open):
            up = self.octree.tile_level - key[0]
            if column is None or (column[0] >> up, column[1] >> up) != key[1:3]:
                self._write(key, np.concatenate(self.open.pop(key)))

    def _write(self, key: Key, record: Any) -> None:
        self.out.AddNode(copclib.VoxelKey(list(key)), copclib.VectorChar(np.frombuffer(record.tobytes(), np.int8)))

    def finish(self) -> int:
        self.close_nodes(None)
        las = self.out.copc_config.las_header
        low, high = (self.low, self.high) if self.count else (np.array(self.octree.corner),) * 2
        las.min, las.max = copclib.Vector3(*low.tolist()), copclib.Vector3(*high.tolist())
        las.points_by_return = [self.count] + [0] * 14
        self.out.Close()
        return self.count


def _levels(record: Any, tile_level: int) -> NDArray[np.int64]:
    """Level (n,) of each point of a tile: the finest holds three quarters, each coarser one a quarter of the next.

    The first points of the tile stand on the levels above it one by one: its node must not hang in the air.
    """
    n = len(record)
    finest = tile_level + max(0, math.ceil(math.log(n / _NODE_POINTS, _BRANCHES)))
    mixed = record["X"].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ record["Y"].astype(np.uint64) * np.uint64(
        0xC2B2AE3D27D4EB4F
    )
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    even = ((mixed >> np.uint64(32)).astype(np.float64) + 0.5) / 2.0**32
    levels = finest - np.floor(-np.log(even) / math.log(_BRANCHES)).astype(np.int64)
    levels = np.clip(levels, 0, finest)
    levels[: tile_level + 1] = np.arange(min(n, tile_level + 1))
    return levels


def _grounded(octree: Octree, xyz: F64, levels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Keys (n, 4); a node without a parent lifts its first point there, finest level first."""
    for level in range(int(levels.max()), octree.tile_level, -1):
        keys = octree.keys(xyz, levels)
        rows = np.flatnonzero(levels == level)
        nodes, first = np.unique(keys[rows, 1:], axis=0, return_index=True)
        parents = {tuple(k) for k in keys[levels == level - 1, 1:].tolist()}
        for node, row in zip(nodes.tolist(), rows[first], strict=True):
            above = tuple(v >> 1 for v in node)
            if above not in parents:
                parents.add(above)
                levels[row] = level - 1
    return octree.keys(xyz, levels)


def _octree(parts: Sequence[tuple[Tile, Path]], bounds: Bounds, lowered: Lowered | None) -> Octree:
    if not parts:
        return Octree((math.floor(bounds[0]), math.floor(bounds[1]), 0.0), float(math.ceil(bounds[2] - bounds[0]) + 1), 0)
    low, high = np.inf, -np.inf
    for tile, path in parts:
        xmin, ymin, xmax, ymax = tile.bounds
        down = np.zeros(1) if lowered is None else lowered(np.array([xmin, xmax]), np.array([ymin, ymax]))
        with opened_points(path) as reader:
            if reader.header.point_count:
                low = min(low, float(reader.header.mins[2] - down.max()))
                high = max(high, float(reader.header.maxs[2] - down.min()))
    return Octree.over([t for t, _ in parts], (low, high) if low <= high else (0.0, 0.0))


def _morton(column: tuple[int, int]) -> int:
    return sum(((column[0] >> i & 1) << 2 * i) | ((column[1] >> i & 1) << 2 * i + 1) for i in range(32))


def _config(octree: Octree, header: Any, crs: Any) -> Any:
    """Header and VLRs; the extra bytes' names come from an empty file, as copclib cannot be told them."""
    with tempfile.TemporaryDirectory(prefix="rsmvs-") as folder:
        empty = Path(folder) / "empty.laz"
        with laspy.open(str(empty), mode="w", header=header, laz_backend=laspy.LazBackend.Lazrs):
            pass
        extra = copclib.LazReader(str(empty)).laz_config.extra_bytes_vlr
    config = copclib.CopcConfigWriter(
        7, copclib.Vector3(SCALE, SCALE, SCALE), copclib.Vector3(*header.offsets.tolist()), las_wkt(crs), extra
    )
    half = octree.side / 2
    info = config.copc_info
    info.center_x, info.center_y, info.center_z = (c + half for c in octree.corner)
    info.halfsize, info.spacing = half, octree.side / 2 / math.sqrt(_NODE_POINTS)
    config.las_header.generating_software = "rsmvs"
    return config
