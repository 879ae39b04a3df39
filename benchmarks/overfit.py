"""Can each network learn a batch by heart? Every regulariser with both geometries, on crops of simulated scenes.

    python benchmarks/overfit.py OUT [--steps 200] [--crop 64] [--only red]

The goal is a mean error over all pixels, hidden ones and edges included, below 0.3 GSD, by the weights as they are used
afterwards. Cases that are already in OUT are not repeated.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from rsmvs.io.manifests import write_json
from rsmvs.network_options import CascadeOptions, DataOptions, TrainOptions
from rsmvs.simulate.samples import SampleOptions, SimulatedSamples
from rsmvs.training.datasets import Crops
from rsmvs.training.loop import Run
from rsmvs.training.tasks import CascadeTask
from rsmvs.types import Sample

GOAL = 0.3  # GSD
NETWORK = CascadeOptions(feature_channels=(8, 8, 8), regularizer_widths=(8, 8, 8), levels=2, hypotheses=(16, 8, 8),
                         reach_cells=3, polish=True)
CASES = [(regularizer, geo_model) for regularizer in ("casmvs", "ucs", "red") for geo_model in ("rpc", "pinhole")]


def crops(geo_model: str, side: int, n: int = 2) -> list[Sample]:
    """Crops of the first scenes of a town at 0.5 m, searched 10 m beyond their heights at most."""
    camera = "satellite" if geo_model == "rpc" else "aerial"
    options = SampleOptions(width=2 * side, height=2 * side, camera=camera, style="town", gsd_min=0.5, gsd_max=0.5)
    data = DataOptions(crop=side, crops_per_sample=1, slack=10.0, rdm="none")
    return list(Crops(SimulatedSamples(n, 0, options), data))


def learn(regularizer: str, geo_model: str, steps: int, side: int) -> dict[str, float]:
    """Scores of a batch after `steps` steps on that batch alone."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    scenes = crops(geo_model, side)
    task = CascadeTask(replace(NETWORK, regularizer=regularizer), (0.5, 1.0, 2.0))
    run = Run(task, TrainOptions(steps=steps, lr=4e-3, lr_end=1e-4, freeze_norm=0.5))
    batch, begin = task.collate(scenes), time.process_time()
    for _ in range(steps):
        run.advance([batch])
    scores, gsd = run.evaluate(scenes), float(np.mean([s.gsd for s in scenes]))
    spread = float(np.mean([np.abs(s.heights - np.median(s.heights)).mean() for s in scenes]))
    return {"mae_gsd": scores["mae"] / gsd, "mae": scores["mae"], "pag_1": scores["pag_1"], "spread": spread,
            "cpu_s": time.process_time() - begin}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    args = parser.parse_args()
    print(f"{args.steps} steps on two crops of {args.crop} px; goal: {GOAL} GSD")
    print(f"{'case':16} {'spread m':>9} {'MAE m':>7} {'MAE GSD':>8} {'PAG 1 m':>8} {'CPU s':>6}")
    for regularizer, geo_model in CASES:
        name = f"{regularizer} {geo_model}"
        if args.only not in name:
            continue
        path = args.out / f"{regularizer}-{geo_model}-{args.crop}-{args.steps}.json"
        if not path.exists():
            write_json(path, learn(regularizer, geo_model, args.steps, args.crop))
        m = json.loads(path.read_text())
        print(f"{name:16} {m['spread']:9.2f} {m['mae']:7.3f} {m['mae_gsd']:8.3f} {m['pag_1']:8.1%} {m['cpu_s']:6.0f}",
              flush=True)


if __name__ == "__main__":
    main()
