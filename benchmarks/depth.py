"""CPU time and memory of relative depth: the embedded model, and Depth-Anything-V2-Small's architecture.

    python benchmarks/depth.py [--size 1024] [--window 518]

The weights of the second are random: the time does not depend on them. Each case runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter

CASES = ("rdm-tiny", "V2-Small, random weights")


def measure(case: str, size: int, window: int) -> dict[str, float]:
    import torch

    from rsmvs.networks.depth_anything import depth_anything_of
    from rsmvs.options import RdmOptions
    from rsmvs.stages.rdm import depth_model, rdm_of

    torch.set_num_threads(1)
    network = depth_model(case)[0] if case == CASES[0] else depth_anything_of({})  # transformers' own defaults are Small's
    image = gaussian_filter(np.random.default_rng(0).normal(size=(size, size)), 2).astype(np.float32)
    start = time.process_time()
    rdm_of(image, network, RdmOptions(window=window))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    weights = sum(p.numel() for p in network.parameters()) / 1e6
    return {"seconds": time.process_time() - start, "mb": peak, "weights": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--window", type=int, default=518)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.case, args.size, args.window)))
        return
    print(f"{args.size} x {args.size} px in windows of {args.window}, one thread")
    print(f"{'model':26} {'M weights':>10} {'CPU s':>7} {'peak MB':>8}")
    for case in CASES:
        command = [sys.executable, __file__, "--case", case, "--size", str(args.size), "--window", str(args.window)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{case:26} {found['weights']:10.2f} {found['seconds']:7.1f} {found['mb']:8.0f}", flush=True)


if __name__ == "__main__":
    main()
