"""Heights and classes together: which part helps? Single tasks and the eight rows of table III, equal start, seeds and steps.

    python benchmarks/semantic.py OUT [--steps 100] [--foundation 500,150] [--seeds 0,1] [--rows full,heights,classes]

The published network starts from SAM. Here a short common training stands for it, of which every row is a continuation:
MVSAM from one image at a time (no ECA), then the cascade alone. `--foundation 0,0` starts from nothing. In all rows the
embedding learns the classes, too (`hint`). Rows: `classes` is MVSAM alone, `heights` the cascade alone, `pair` both of them.
Judged by the metrics of the paper over other scenes, whole. Without --samples the scenes are simulated into OUT/samples. A
run that was stopped goes on, one that is there is not repeated.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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
BASE = Mvsr3dOptions(sam=_SAM, cascade=_CASCADE, encoder="full", sam_fg_width=8, foreground=1200, background=600,
                    hint=True)
PARTS = ("eca", "egspg", "sam_fg")
ROWS = {"baseline": (), "eca": ("eca",), "egspg": ("egspg",), "sam_fg": ("sam_fg",), "eca+egspg": ("eca", "egspg"),
        "eca+sam_fg": ("eca", "sam_fg"), "egspg+sam_fg": ("egspg", "sam_fg"), "full": PARTS, "full+relief": (*PARTS, "relief")}
TABLE = ("full", "egspg+sam_fg", "eca+sam_fg", "eca+egspg", "baseline", "eca", "egspg", "sam_fg")
SIDE = 160  # px, of the simulated scenes
COLUMNS = ("mean F1", "mIoU", "mIoU3_1", "mIoU3_2.5", "strict", "MAE m", "RMSE m", "PAG 2.5")
Maps = list[tuple[Any, Any, Any]]


def config_of(row: str, training: TrainOptions, data: DataOptions, initial: str) -> JointConfig:
    """The classes of `heights` are not learned."""
    weight = 0.0 if row == "heights" else 20.0
    if row == "classes":
        network = replace(BASE, heights=False, egspg=False, sam_fg=False)
    else:
        on = () if row == "heights" else ROWS[row]
        network = replace(BASE, **{p: p in on for p in (*PARTS, "relief")})
    return JointConfig(network=network, training=training, data=data, class_weight=weight, initial=initial)


def foundation(out: Path, steps: Sequence[int], training: TrainOptions, data: DataOptions) -> str:
    """Weights that all rows start from: MVSAM from single images, then the cascade. '' where the steps are none."""
    if not any(steps):
        return ""
    alone = replace(BASE, heights=False, egspg=False, sam_fg=False, eca=False)
    first = replace(training, steps=steps[0], batch_size=4, lr=2e-3, clip_norm=1.0)
    large = replace(data, crop=128, view_num=2)  # the source is not looked at
    classes = _trained(JointConfig(network=alone, training=first, data=large), out / "foundation-classes")
    second, middling = replace(training, steps=steps[1], lr=1e-3), replace(data, crop=96)
    return str(_trained(config_of("heights", second, middling, str(classes)), out / "foundation"))


def _trained(config: JointConfig, folder: Path) -> Path:
    weights = folder / "last.safetensors"
    return weights if weights.exists() else train_joint(config, folder)


def maps_of(weights: Path, data: DataOptions) -> Maps:
    """(true class, class, height error) of every scene of the fixed set; heights NaN where the network has none."""
    stored = read_weights(str(weights))
    network = mvsr3d_of(stored.tensors, stored.card, weights)
    task = JointTask(JointConfig(network=network.options))
    out = []
    for sample in Crops(training_samples(data)[1], replace(data, crop=SIDE, crops_per_sample=1), seed=1):
        stack, truth, labels = task.collate([sample])
        with torch.inference_mode():
            found = network(stack)
        label = found.logits.argmax(1)[0].numpy()
        error = (found.stages[-1].z - truth)[0, 0].numpy() if found.stages else np.full(label.shape, np.nan, np.float32)
        out.append((labels[0].numpy(), label, error))
    return out


def figures(maps: Maps) -> list[float]:
    """The columns of the table; NaN of the heights where there are none."""
    classes = ClassErrors(tuple(range(len(CLASS_NAMES))))
    for truth, label, error in maps:
        classes.feed(label, truth, error)
    c = classes.result()
    error = np.concatenate([e[np.isfinite(e)] for _, _, e in maps])
    if not error.size:
        return [c["mean_f1"], c["miou"], *[np.nan] * (len(COLUMNS) - 2)]
    three = [c["miou3_1.0"]["lenient"], c["miou3_2.5"]["lenient"], c["miou3_2.5"]["strict"]]
    heights = [np.abs(error).mean(), np.sqrt((error**2).mean()), 100 * (np.abs(error) < 2.5).mean()]
    return [c["mean_f1"], c["miou"], *three, *heights]


def constant(maps: Maps) -> Maps:
    """The most frequent true class everywhere: what a row has to beat."""
    known = np.concatenate([t[t >= 0] for t, _, _ in maps])
    most = np.bincount(known).argmax()
    return [(t, np.full_like(label, most), error) for t, label, error in maps]


def show(row: str, seed: str, values: Sequence[float]) -> None:
    print(f"{row:14} {seed:>4}" + "".join(f"{'' if np.isnan(v) else format(v, '.2f'):>10}" for v in values), flush=True)


def write_towns(folder: Path, n: int) -> None:
    """Small towns in fair weather, three views of one day each: what little training suffices for."""
    options = SampleOptions(width=SIDE, height=SIDE, views=3, style="small town", gsd_min=0.45, gsd_max=0.55, other_date=0.0,
                            clouds=0.0, haze=0.0)
    scenes = SimulatedSamples(n, 7_000_000, options)
    for i in range(n):
        if not (path := folder / f"{i:04d}.npz").exists():
            write_sample(path, scenes[i])


def compare(
    out: Path, rows: Sequence[str], seeds: Sequence[int], initial: str, training: TrainOptions, data: DataOptions
) -> None:
    """One line a row and seed as they end, then the means over the seeds of those with several."""
    found: dict[str, list[list[float]]] = {}
    for seed in seeds:
        single: dict[str, Maps] = {}
        for row in rows:
            config = config_of(row, replace(training, seed=seed), data, initial)
            maps = maps_of(_trained(config, out / f"{row}-{training.steps}-{seed}"), data)
            if not found:
                show("most frequent", "", figures(constant(maps)))
            found.setdefault(row, []).append(figures(maps))
            show(row, str(seed), found[row][-1])
            if row in ("classes", "heights"):
                single[row] = maps
                if len(single) == 2:
                    both = zip(single["classes"], single["heights"], strict=True)
                    found.setdefault("pair", []).append(figures([(t, label, error) for (t, label, _), (_, _, error) in both]))
                    show("pair", str(seed), found["pair"][-1])
    for row, values in found.items() if len(seeds) > 1 else ():
        show(row, "mean", list(np.mean(values, axis=0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=Path, help="folder of samples (*.npz)")
    parser.add_argument("--foundation", default="500,150", help="steps of MVSAM and of the cascade that all rows start from")
    parser.add_argument("--steps", type=int, default=100, help="of every row")
    parser.add_argument("--lr", type=float, default=5e-4, help="of every row")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--count", type=int, default=80, help="simulated samples to learn from, where none are given")
    parser.add_argument("--evaluation", type=int, default=32, help="samples of the fixed set")
    parser.add_argument("--rows", default=",".join(("classes", "heights", *TABLE)))
    args = parser.parse_args()
    data = DataOptions(crop=args.crop, count=args.count, evaluation=args.evaluation, slack=10.0, rdm="none")
    samples = args.samples or args.out / "samples"
    if args.samples is None:
        write_towns(samples, args.count + args.evaluation)
    data = replace(data, dataset="samples", dataset_root=str(samples))
    training = TrainOptions(steps=args.steps, lr=args.lr, warmup=20, eval_every=10**6, save_every=50, ema=0.98,
                            optimizer="adamw", clip_norm=0.0, threads=1)  # clipped, the classes would slow the heights
    start = [int(n) for n in args.foundation.split(",")]
    print(f"{start[0]} + {start[1]} steps, then {args.steps} of two {args.crop}-px crops; {args.evaluation} other scenes")
    print(f"{'row':14} {'seed':>4}" + "".join(f"{n:>10}" for n in COLUMNS))
    initial = foundation(args.out, start, training, data)
    if initial:
        show("start", "", figures(maps_of(Path(initial), data)))
    compare(args.out, args.rows.split(","), [int(s) for s in args.seeds.split(",")], initial, training, data)


if __name__ == "__main__":
    main()
