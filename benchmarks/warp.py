"""Warp field against exact RPC: error over full height ranges on real cameras, and speed.

    python benchmarks/warp.py [--data FOLDER] [--size 512] [--planes 16]

The reference of the speed is what learned satellite MVS has done so far: for each pixel and each height plane the
rational cubic polynomials of the reference (pixel and height to ground) and of the source (ground to pixel), in float64.
The exact iteration of the camera model is timed beside it. One thread each.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.warp import build_warp_field
from rsmvs.geometry.warp_torch import dense_field, source_pixels
from rsmvs.io.raster import opened
from rsmvs.io.rpc_files import find_camera
from rsmvs.types import Camera, Window

DATA = Path(os.environ.get("RSMVS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
PAIRS = {
    "autzen v00 v05": ("autzen_public/images/v00.tif", "autzen_public/images/v05.tif"),
    "autzen v03 v04": ("autzen_public/images/v03.tif", "autzen_public/images/v04.tif"),
    "kahramanmaras post": ("kahramanmaras/post_event_img1.tif", "kahramanmaras/post_event_img2.tif"),
    "kahramanmaras pre": ("kahramanmaras/pre_event_img1.tif", "kahramanmaras/pre_event_img2.tif"),
    "gizeh": ("gizeh/img1.tif", "gizeh/img2.tif"),
}


def camera_of(path: Path) -> tuple[Camera, int, int]:
    with opened(path) as dataset:
        return find_camera(str(path), dataset)[0], dataset.width, dataset.height


def monomials(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """(20, n): the RPC00B monomials with L = x, P = y, H = z."""
    one = torch.ones_like(x)
    terms = [one, x, y, z, x * y, x * z, y * z, x * x, y * y, z * z, x * y * z, x**3, x * y * y, x * z * z, x * x * y, y**3]
    return torch.stack([*terms, y * z * z, x * x * z, y * y * z, z**3])


def rational_reference(camera: RPC) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], Any]:
    """Two passes of two rational cubic polynomials per point in float64: the cost of inverse and forward RPC.

    Values do not matter for the time; the forward polynomials serve for both passes.
    """
    poly = torch.from_numpy(np.asarray(camera.poly, np.float64))

    def evaluate(x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        for _ in range(2):
            values = poly @ monomials(x, y, z)
            x, y = values[0] / values[1], values[2] / values[3]
        return x, y

    return evaluate


def seconds(work: Callable[[], Any], repeat: int = 3) -> float:
    """Shortest CPU time of a few runs."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def accuracy(a: Camera, b: Camera, window: Window, heights: tuple[float, float]) -> tuple[float, float, tuple[int, ...]]:
    """(largest, mean) distance in px of the float32 tensors to the exact projection at random pixels and heights."""
    field = build_warp_field(a, b.project, window, heights)
    middle = sum(heights) / 2
    u0, v0 = (float(np.round(x)) for x in field(window.col + window.width / 2, window.row + window.height / 2, middle))
    dense = dense_field(field.moved(window.col, window.row, u0, v0), window.shape, middle)[None]
    dice, worst, total = np.random.default_rng(0), 0.0, []
    for h in np.linspace(*heights, 33):
        row, col = dice.integers(0, window.height, 2000), dice.integers(0, window.width, 2000)
        u, v = b.project(*a.localise(col + window.col, row + window.row, h), h)
        uv = source_pixels(dense, torch.tensor(h - middle, dtype=torch.float32).view(1, 1, 1, 1))[0].double().numpy()
        error = np.hypot(uv[0][row, col] + u0 - u, uv[1][row, col] + v0 - v)
        worst, _ = max(worst, float(error.max())), total.append(float(error.mean()))
    return worst, float(np.mean(total)), field.coefs.shape[:3]


def speed(a: Camera, b: Camera, window: Window, heights: tuple[float, float], planes: int) -> dict[str, float]:
    """ns per pixel and plane."""
    assert isinstance(a, RPC)
    n = window.width * window.height
    field = build_warp_field(a, b.project, window, heights).moved(window.col, window.row, window.col, window.row)
    middle = sum(heights) / 2
    levels = np.linspace(*heights, planes)
    z = torch.from_numpy((levels - middle).astype(np.float32)).view(planes, 1, 1, 1, 1)

    def by_field() -> None:
        dense = dense_field(field, window.shape, middle)[None]
        for k in range(planes):
            source_pixels(dense, z[k])

    rows, cols = np.mgrid[: window.height, : window.width]
    x, y = (torch.from_numpy(v.reshape(-1) / v.max()).double() for v in (cols, rows))
    evaluate = rational_reference(a)

    def by_polynomials() -> None:
        for h in np.linspace(-0.9, 0.9, planes):
            evaluate(x, y, torch.full_like(x, float(h)))

    def by_iteration() -> None:
        b.project(*a.localise(cols + window.col, rows + window.row, levels[0]), levels[0])

    return {
        "field": seconds(by_field) / n / planes * 1e9,
        "polynomials": seconds(by_polynomials, 1) / n / planes * 1e9,
        "iteration": seconds(by_iteration) / n * 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--planes", type=int, default=16)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'cameras':20} {'window':>11} {'heights m':>14} {'lattice':>12} {'max px':>8} {'mean px':>8}")
    cameras = None
    for name, files in PAIRS.items():
        if not all((args.data / f).exists() for f in files):
            print(f"{name:20} not found under {args.data}")
            continue
        (a, width, height), (b, _, _) = (camera_of(args.data / f) for f in files)
        cameras = cameras or (a, b)
        window = Window(0, 0, width, height)
        worst, mean, lattice = accuracy(a, b, window, a.height_range)
        low, high = a.height_range
        print(f"{name:20} {width:5}x{height:<5} {low:6.0f} .. {high:<5.0f} {lattice!s:>12} {worst:8.5f} {mean:8.5f}")
    if cameras is None:
        return
    figures = speed(*cameras, Window(100, 100, args.size, args.size), cameras[0].height_range, args.planes)
    print(f"\n{args.size} x {args.size} px, {args.planes} planes, one thread: ns per pixel and plane, ratio to the field")
    for name, value in figures.items():
        print(f"{name:20} {value:8.2f} {value / figures['field']:8.1f}")


if __name__ == "__main__":
    main()
