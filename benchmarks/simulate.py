"""Seconds of one core and memory for training samples of the simulator.

python benchmarks/simulate.py [--count 12] [--size 512] [--views 3] [--bands pan] [--camera satellite]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from rsmvs.simulate.samples import SampleOptions, sample_of, training_sample


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--bands", default="pan")
    parser.add_argument("--camera", default="satellite")
    args = parser.parse_args()
    options = SampleOptions(width=args.size, height=args.size, views=args.views, bands=args.bands, camera=args.camera)
    sample_of(training_sample(10**6, options), options.slack)  # compiles, or loads what was compiled
    seconds, memory = [], []
    for seed in range(args.count):
        start = time.process_time()
        sample_of(training_sample(seed, options), options.slack)
        seconds.append(time.process_time() - start)
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    half = memory[len(memory) // 2]
    print(f"{args.count} samples of {args.size} x {args.size}, {args.views} views, {args.bands}, {args.camera}")
    print(f"CPU seconds a sample: median {np.median(seconds):.2f}, mean {np.mean(seconds):.2f}, largest {max(seconds):.2f}")
    print(f"peak memory: {half:.0f} MiB after half of them, {memory[-1]:.0f} MiB after all")


if __name__ == "__main__":
    main()
