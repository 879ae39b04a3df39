"""Bundle adjustment: time, memory and accuracy on simulated networks with known camera errors.

    python -m benchmarks.adjust [--views 30] [--tracks 2000]

Each row is a network of pushbroom views whose RPCs are up to 4 px off, with 0.2 px of noise in the tie points. `relative`
is the RMS by which the adjusted cameras miss the exact ones after the common move of the ground.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from rsmvs.adjust.network import adjust_network
from rsmvs.options import AdjustOptions
from rsmvs.simulate.tie_points import relative_errors, simulate_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--views", type=int, default=30, help="views of the largest network")
    parser.add_argument("--tracks", type=int, default=2000, help="tie points per view")
    arguments = parser.parse_args()
    table = Table(title="Bundle adjustment of simulated networks")
    for name in (
        "views",
        "observations",
        "wrong %",
        "mode",
        "wall s",
        "CPU s",
        "peak MB",
        "residual px",
        "relative px",
        "flags",
    ):
        table.add_column(name, justify="right")
    _row(2, 100, 0.0, "bias")  # compiles the kernels
    sizes = sorted({v for v in (2, 3, 8, 15) if v < arguments.views} | {arguments.views})
    for views in sizes:
        table.add_row(*_row(views, arguments.tracks, 0.0, "auto"))
    for wrong, mode in ((0.1, "bias"), (0.1, "affine"), (0.25, "auto")):
        table.add_row(*_row(arguments.views, arguments.tracks, wrong, mode))
    Console(width=120).print(table)


def _row(views: int, tracks: int, wrong: float, mode: str) -> list[str]:
    network = simulate_network(views, tracks, wrong_share=wrong, seed=views)
    wall, cpu = time.perf_counter(), time.process_time()
    result = adjust_network(network.tracks, network.sensors, network.height_range, AdjustOptions(mode=mode))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    relative = np.sqrt(np.mean(relative_errors(network, result.corrections) ** 2))
    residual = np.median(np.linalg.norm(result.after, axis=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    flags = sum(bool(f) for f in result.flags.values())
    cells = (views, len(network.tracks.point), round(100 * float(network.wrong.mean())), mode)
    return [*map(str, cells), f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}", f"{residual:.3f}", f"{relative:.4f}", str(flags)]


if __name__ == "__main__":
    main()
