"""Does the memory of the regularisers grow with the number of planes? Peak of the process at inference.

    python -m benchmarks.planes [--size 512] [--views 3] [--planes 64,256,1024] [--regularizers red,casmvs]

One stage counts: the first one gets all the planes, the others eight. Weights are random, the backend is torch, and each case
runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace


def measure(regularizer: str, planes: int, size: int, views: int) -> dict[str, float]:
    import torch

    from benchmarks.matchers import flat_stack
    from rsmvs.network_options import PRESETS
    from rsmvs.networks.cascade import Cascade
    from rsmvs.networks.learned import LearnedMatcher
    from rsmvs.options import LearnedOptions

    torch.set_num_threads(1)
    network = Cascade(replace(PRESETS["small"], regularizer=regularizer, hypotheses=(planes, 8, 8))).eval()
    match, stack = LearnedMatcher(network, {}, LearnedOptions(backend="torch", window=size)), flat_stack(size, views)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.process_time()
    match(stack)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"before": before, "peak": peak, "seconds": time.process_time() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--planes", default="64,256,1024")
    parser.add_argument("--regularizers", default="red,casmvs")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        regularizer, planes = args.case.split(",")
        print(json.dumps(measure(regularizer, int(planes), args.size, args.views)))
        return
    print(f"{args.size} x {args.size}, {args.views} views, one thread, torch: MB of the process before and at its peak, CPU s")
    print(f"{'':8} {'planes':>7} {'before':>7} {'peak':>7} {'more':>6} {'CPU s':>7}")
    for regularizer in args.regularizers.split(","):
        for planes in args.planes.split(","):
            command = [sys.executable, "-m", "benchmarks.planes", "--case", f"{regularizer},{planes}"]
            command += ["--size", str(args.size), "--views", str(args.views)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            more = found["peak"] - found["before"]
            row = f"{found['before']:7.0f} {found['peak']:7.0f} {more:6.0f} {found['seconds']:7.1f}"
            print(f"{regularizer:8} {planes:>7} {row}", flush=True)


if __name__ == "__main__":
    main()
