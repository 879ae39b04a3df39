"""CPU time and memory of the matchers on one reference: every preset, regulariser and backend, and sgm.

    python benchmarks/matchers.py [--size 1024] [--views 3] [--threads 1] [--only refine]

Weights are random: the time does not depend on them. Each case runs in a process of its own, so that the peak memory
is its own; "first" includes compiling. The height range is 64 m; refinement starts from a given height map, the time
of which stands in the row of sgm.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from rsmvs.geometry.warp import WarpField
from rsmvs.networks.matcher import Source, ViewStack
from rsmvs.options import LearnedOptions, SgmOptions

RANGE = (100.0, 164.0)
SLOPES = ((0.5, 0.1), (-0.45, 0.15), (0.05, -0.5), (0.3, 0.3), (-0.3, 0.4))  # px per metre
CASES = [("sgm", "", "")]
CASES += [(preset, regularizer, backend) for preset in ("small", "paper", "refine") for regularizer in ("casmvs", "ucs", "red")
          for backend in ("torch", "torch bf16", "openvino")]


def flat_stack(size: int, views: int) -> ViewStack:
    """A textured plane at 120 m seen by parallel views."""
    dice = np.random.default_rng(0)
    texture = (gaussian_filter(dice.normal(size=(size, size)), 1.2) * 300 + 500).astype(np.float32)
    middle, half = sum(RANGE) / 2, (RANGE[1] - RANGE[0]) / 2
    sources = []
    for a, b in SLOPES[: views - 1]:
        coefs = np.zeros((2, 2, 3, 2))
        coefs[:, 1, 0, 0] = coefs[1, :, 0, 1] = size
        coefs[:, :, 1, 0], coefs[:, :, 1, 1] = a * half, b * half
        field = WarpField(coefs, np.array([0.0, 0.0, 1 / size, middle, 1 / half, 0.0, 0.0]), 0.0)
        moved = shift(texture, ((120 - middle) * b, (120 - middle) * a), order=1, mode="mirror")
        sources.append(Source((moved + dice.normal(0, 2, texture.shape)).astype(np.float32), field))
    return ViewStack(texture, tuple(sources), RANGE, 0.5)


def measure(case: tuple[str, str, str], size: int, views: int, threads: int) -> dict[str, float]:
    preset, regularizer, backend = case
    stack = flat_stack(size, views)
    if preset == "sgm":
        from rsmvs.networks import sgm

        sgm.match(flat_stack(96, views), SgmOptions())  # compiles

        def match() -> object:
            return sgm.match(stack, SgmOptions())
    else:
        import torch

        from rsmvs.network_options import PRESETS
        from rsmvs.networks.cascade import Cascade
        from rsmvs.networks.learned import LearnedMatcher

        torch.set_num_threads(threads)
        network = Cascade(replace(PRESETS[preset], regularizer=regularizer)).eval()
        name, _, precision = backend.partition(" ")
        options = LearnedOptions(backend=name, precision=precision or "fp32", window=size, threads=threads)
        matcher = LearnedMatcher(network, {}, options)
        if preset == "refine":
            stack = replace(stack, prior=np.full((size, size), 120, np.float32))

        def match() -> object:
            return matcher(stack)

    times = []
    for _ in range(2):
        start = time.process_time()
        match()
        times.append(time.process_time() - start)
    return {"first": times[0], "next": times[1], "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name holds this, and sgm")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(tuple(json.loads(args.case)), args.size, args.views, args.threads)))
        return
    print(f"{args.size} x {args.size}, {args.views} views, {args.threads} thread(s): CPU seconds, peak memory")
    print(f"{'case':28} {'first':>7} {'next':>7} {'MB':>6} {'next / sgm':>11}")
    base = None
    for case in CASES:
        name = " ".join(case).strip()
        if case[0] != "sgm" and args.only not in name:
            continue
        sizes = ["--size", str(args.size), "--views", str(args.views), "--threads", str(args.threads)]
        done = subprocess.run([sys.executable, __file__, "--case", json.dumps(case), *sizes], capture_output=True, text=True)
        if done.returncode:
            print(f"{name:28} {done.stderr.strip().splitlines()[-1][:90]}")
            continue
        figures = json.loads(done.stdout.splitlines()[-1])
        base = base or figures["next"]
        print(f"{name:28} {figures['first']:7.1f} {figures['next']:7.1f} {figures['mb']:6.0f} {figures['next'] / base:11.2f}",
              flush=True)


if __name__ == "__main__":
    main()
