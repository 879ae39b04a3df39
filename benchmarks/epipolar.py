"""Epipolar lines of ECA's fundamental matrix against the exact curves of the RPCs, all ordered pairs of a folder of images.

    python benchmarks/epipolar.py [--images FOLDER] [--side 512] [--span 120]

For a window in the middle of each reference the matrix comes from virtual points in the warp field, as in the network. Then
points of the window at seven heights go through both cameras: how far, in pixels of the reference, they lie from the line of
their source pixel. reach: how far these pixels lie from their middle.
"""

from __future__ import annotations

import argparse
import os
from itertools import permutations
from pathlib import Path

import numpy as np
import torch

from rsmvs.geometry.warp import build_warp_field
from rsmvs.geometry.warp_torch import dense_field, normalised_field
from rsmvs.geometry.windows import window_of_warp
from rsmvs.io.raster import opened
from rsmvs.io.rpc_files import find_camera
from rsmvs.networks.eca import fundamental_matrix, virtual_points
from rsmvs.types import F64, Camera, Window

DATA = Path(os.environ.get("RSMVS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
_MARGIN = 16  # px around what a warp reaches


def distances(reference: Camera, source: Camera, size: tuple[int, int], side: int, span: float) -> tuple[F64, float]:
    """Distances (px) of points to their lines, and how far the points of a window reach in the source (px).

    size: (width, height) of the reference. span: m of height around the middle of its camera's range.
    """
    middle = sum(reference.height_range) / 2
    low, high = middle - span / 2, middle + span / 2
    window = Window(max(size[0] // 2 - side // 2, 0), max(size[1] // 2 - side // 2, 0), side, side)
    exact = build_warp_field(reference, source.project, window, (low, high))
    reached = window_of_warp(exact, window, (low, high), _MARGIN)
    dense = dense_field(exact.moved(window.col, window.row, reached.col, reached.row), window.shape, middle)
    normal = normalised_field(dense, reached.shape)[None]
    matched = virtual_points(normal, torch.tensor([[low - middle, high - middle]]), 1000, 0)
    f = fundamental_matrix(*matched)[0].numpy()
    steps = np.linspace(0, side - 1, 9)
    rows, cols, h = (x.ravel() for x in np.meshgrid(steps, steps, np.linspace(low, high, 7), indexing="ij"))
    u, v = source.project(*reference.localise(cols + window.col, rows + window.row, h), h)
    x, y = (u - reached.col + 0.5) * 2 / reached.width - 1, (v - reached.row + 0.5) * 2 / reached.height - 1
    lines = f @ np.stack([x, y, np.ones_like(u)])  # in normalised coordinates of the reference; to pixels
    p, q = lines[0] * 2 / side, lines[1] * 2 / side
    offset = lines[2] + lines[0] * (1 / side - 1) + lines[1] * (1 / side - 1)
    return np.abs(p * cols + q * rows + offset) / np.hypot(p, q), float(np.hypot(u - u.mean(), v - v.mean()).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=DATA / "autzen_public" / "images")
    parser.add_argument("--side", type=int, default=512, help="of the windows, px")
    parser.add_argument("--span", type=float, default=120.0, help="of the heights, m")
    args = parser.parse_args()
    cameras: dict[str, tuple[Camera, tuple[int, int]]] = {}
    for path in sorted(args.images.glob("*.tif")):
        with opened(path) as dataset:
            cameras[path.stem] = find_camera(str(path), dataset)[0], (dataset.width, dataset.height)
    print(f"{'reference':>12} {'source':>12} {'reach px':>9} {'median px':>10} {'largest px':>11}")
    largest = []
    for a, b in permutations(cameras, 2):
        found, reach = distances(cameras[a][0], cameras[b][0], cameras[a][1], args.side, args.span)
        largest.append(found.max())
        print(f"{a:>12} {b:>12} {reach:9.0f} {np.median(found):10.4f} {found.max():11.4f}")
    if largest:
        print(f"{len(largest)} pairs: largest {max(largest):.4f} px, median of the largest {np.median(largest):.4f} px")
    else:
        print(f"no two images in {args.images}")


if __name__ == "__main__":
    main()
