"""CPU time, memory and trained parameters of MVSR3D: a reference in use, a step of its training.

    python benchmarks/mvsr3d.py [--cases "tiny 1024 use,vit_b 512 train"] [--views 3] [--threads 1]

A case is a preset of `rsmvs train --model mvsr3d` or the name of weights, the side of the window in pixels, and what is done
with it: `use` (the whole matcher) or `train` (a step of one window: both branches, gradients, RMSprop). Weights of presets
are random: neither time nor memory depends on them. Each case runs in a process of its own, so that the peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from matchers import flat_stack
from rsmvs.options import LearnedOptions
from rsmvs.types import Sample

CASES = "tiny 1024 use,mvsr3d-tiny 512 use,vit_b 512 use,vit_b 512 train"
FLAT = 120.0  # m, height of the plane that all views see


def measure(preset: str, side: int, work: str, views: int, threads: int) -> dict[str, float]:
    import torch

    from rsmvs.io.weights import read_weights
    from rsmvs.networks.lora import trainable
    from rsmvs.networks.mvsr3d import MVSR3D
    from rsmvs.networks.semantic_matcher import SemanticMatcher, mvsr3d_of
    from rsmvs.semantic_options import SEMANTIC_PRESETS

    torch.set_num_threads(threads)
    stack, card = flat_stack(side, views), {}
    if preset in SEMANTIC_PRESETS:
        network = MVSR3D(SEMANTIC_PRESETS[preset])
    else:
        stored = read_weights(preset)
        network, card = mvsr3d_of(stored.tensors, stored.card, preset), stored.card
    trained, whole = trainable(network)
    if work == "use":
        match = SemanticMatcher(network, card, LearnedOptions(threads=threads, window=side))
        start = time.process_time()
        match(stack)
    else:
        start = step(network, Sample("flat", (stack.image, *(s.image for s in stack.sources)),
                                     tuple(s.field for s in stack.sources), np.full((side, side), FLAT, np.float32),
                                     np.zeros((side, side), np.int16), None, stack.height_range, stack.gsd, None))  # fmt: skip
    used = time.process_time() - start
    return {"cpu": used, "gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "trained": trained, "all": whole}


def step(network: object, sample: Sample) -> float:
    """A step of training from these weights; returns the CPU time at which it began."""
    from rsmvs.network_options import TrainOptions
    from rsmvs.semantic_options import JointConfig
    from rsmvs.training.joint import JointTask
    from rsmvs.training.loop import Run

    task = JointTask(JointConfig(network=network.options), initial=network.state_dict())
    run = Run(task, TrainOptions(clip_norm=0.0, precision="fp32"))
    start = time.process_time()
    run.advance([task.collate([sample])])
    return start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--views", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        preset, side, work = args.case.split()
        print(json.dumps(measure(preset, int(side), work, args.views, args.threads)))
        return
    print(f"{args.views} views, {args.threads} thread(s)\n{'case':24} {'CPU s':>7} {'peak GB':>8} {'trained':>12} {'of':>12}")
    for case in args.cases.split(","):
        command = [sys.executable, __file__, "--case", case, "--views", str(args.views), "--threads", str(args.threads)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{case:24} {done.stderr.strip().splitlines()[-1][:100]}", flush=True)
            continue
        f = json.loads(done.stdout.splitlines()[-1])
        print(f"{case:24} {f['cpu']:7.1f} {f['gb']:8.2f} {f['trained']:12,} {f['all']:12,}", flush=True)


if __name__ == "__main__":
    main()
