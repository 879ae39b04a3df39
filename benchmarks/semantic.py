"""Heights and classes together: which part helps? Single tasks and the eight rows of table III, equal seeds and steps.

    python benchmarks/semantic.py OUT [--samples FOLDER] [--steps 400] [--crop 96] [--rows full,heights,classes]

Without --samples the scenes are simulated into OUT/samples first. Heights and classes of the fixed set are judged by the
metrics of the paper; of the two single tasks together, too (row `pair`). Runs that are already there are not repeated.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rsmvs.evaluation.metrics import ClassErrors
from rsmvs.io.samples import write_sample
from rsmvs.io.weights import read_weights
from rsmvs.network_options import CascadeOptions, DataOptions, TrainOptions
from rsmvs.networks.semantic_matcher import mvsr3d_of
from rsmvs.semantic_options import JointConfig, Mvsr3dOptions, SamOptions
from rsmvs.simulate.samples import SampleOptions, SimulatedSamples
from rsmvs.stages.train import training_samples
from rsmvs.stages.train_joint import train_joint
from rsmvs.training.datasets import Crops
from rsmvs.training.joint import JointTask
from rsmvs.types import CLASS_NAMES

_SAM = SamOptions(width=64, depth=3, heads=2, global_blocks=(2,), positions=8, attention_window=4, channels=32,
                  decoder_width=64, patch=8)
_CASCADE = CascadeOptions(feature_channels=(4, 6, 8), regularizer_widths=(4, 4, 4), levels=2, hypotheses=(32, 16, 8))
BASE = Mvsr3dOptions(sam=_SAM, cascade=_CASCADE, encoder="full", sam_fg_width=8, foreground=1200, background=600)
PARTS = ("eca", "egspg", "sam_fg")
ROWS = {"baseline": (), "eca": ("eca",), "egspg": ("egspg",), "sam_fg": ("sam_fg",), "eca+egspg": ("eca", "egspg"),
        "eca+sam_fg": ("eca", "sam_fg"), "egspg+sam_fg": ("egspg", "sam_fg"), "full": PARTS}


def config_of(row: str, training: TrainOptions, data: DataOptions) -> JointConfig:
    """`classes` is MVSAM alone, `heights` the cascade alone (its classes are not learned)."""
    if row == "classes":
        network = replace(BASE, heights=False, egspg=False, sam_fg=False)
        return JointConfig(network=network, training=training, data=data)
    if row == "heights":
        network = replace(BASE, **dict.fromkeys(PARTS, False))
        return JointConfig(network=network, training=training, data=data, class_weight=0.0)
    network = replace(BASE, **{p: p in ROWS[row] for p in PARTS})
    return JointConfig(network=network, training=training, data=data)


def maps_of(weights: Path, data: DataOptions) -> list[tuple[Any, ...]]:
    """(true class, class, height error) of every crop of the fixed set; heights NaN where the network has none."""
    stored = read_weights(str(weights))
    network = mvsr3d_of(stored.tensors, stored.card, weights)
    task = JointTask(JointConfig(network=network.options))
    out = []
    for sample in Crops(training_samples(data)[1], replace(data, crops_per_sample=1), seed=1):
        stack, truth, labels = task.collate([sample])
        with torch.inference_mode():
            found = network(stack)
        label = found.logits.argmax(1)[0].numpy()
        error = (found.stages[-1].z - truth)[0, 0].numpy() if found.stages else np.full(label.shape, np.nan, np.float32)
        out.append((labels[0].numpy(), label, error))
    return out


def table_row(name: str, maps: list[tuple[Any, ...]]) -> str:
    classes = ClassErrors(tuple(range(len(CLASS_NAMES))))
    for truth, label, error in maps:
        classes.feed(label, truth, error)
    c = classes.result()
    error = np.concatenate([e[np.isfinite(e)] for _, _, e in maps])
    values = [c["mean_f1"], c["miou"]]
    if error.size:
        values += [c["miou3_1.0"]["lenient"], c["miou3_2.5"]["lenient"], c["miou3_2.5"]["strict"]]
        values += [np.abs(error).mean(), np.sqrt((error**2).mean()), 100 * (np.abs(error) < 2.5).mean()]
    return f"{name:14}" + "".join(f"{v:10.2f}" for v in values)


def write_towns(folder: Path, n: int) -> None:
    """Small towns in fair weather, three views of one day each: what little training suffices for."""
    options = SampleOptions(width=160, height=160, views=3, style="small town", gsd_min=0.45, gsd_max=0.55, other_date=0.0,
                            clouds=0.0, haze=0.0)
    scenes = SimulatedSamples(n, 7_000_000, options)
    for i in range(n):
        if not (path := folder / f"{i:04d}.npz").exists():
            write_sample(path, scenes[i])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=Path, help="folder of samples (*.npz)")
    parser.add_argument("--initial", default="", help="weights that all rows start from")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--count", type=int, default=80, help="simulated samples to learn from, where none are given")
    parser.add_argument("--evaluation", type=int, default=16, help="samples of the fixed set")
    parser.add_argument("--rows", default=",".join((*ROWS, "classes", "heights")))
    args = parser.parse_args()
    data = DataOptions(crop=args.crop, count=args.count, evaluation=args.evaluation, slack=10.0, rdm="none")
    samples = args.samples or args.out / "samples"
    if args.samples is None:
        write_towns(samples, args.count + args.evaluation)
    data = replace(data, dataset="samples", dataset_root=str(samples))
    training = TrainOptions(steps=args.steps, lr=1e-3, warmup=20, eval_every=args.steps, save_every=100, ema=0.98,
                            clip_norm=0.0, threads=1)  # clipped, the weight of the classes would slow the heights
    print(f"{args.steps} steps of two crops of {args.crop} px, judged on {args.evaluation} other scenes")
    names = ("mean F1", "mIoU", "mIoU3_1", "mIoU3_2.5", "strict", "MAE m", "RMSE m", "PAG 2.5")
    print(f"{'row':14}" + "".join(f"{n:>10}" for n in names))
    single: dict[str, list[tuple[Any, ...]]] = {}
    for row in args.rows.split(","):
        folder = args.out / f"{row}-{args.steps}"
        weights = folder / "last.safetensors"
        if not weights.exists():
            train_joint(replace(config_of(row, training, data), initial=args.initial), folder)
        maps = maps_of(weights, data)
        single |= {row: maps} if row in ("classes", "heights") else {}
        print(table_row(row, maps), flush=True)
    if len(single) == 2:
        pair = [(t, label, error) for (t, label, _), (_, _, error) in zip(single["classes"], single["heights"], strict=True)]
        print(table_row("pair", pair))


if __name__ == "__main__":
    main()
