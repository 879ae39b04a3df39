"""Does relative depth help? Each regulariser with and without it: same seeds, same samples, same steps.

    python benchmarks/ablation.py OUT [--samples FOLDER] [--steps 300] [--crop 64] [--regularizers casmvs,ucs,red]
        [--rdm none,oracle] [--seed 0]

The relative depth is made from the true heights by a random monotone distortion, a smooth error and noise, so that the
result tells of the fusion and not of a depth network. Without --samples the scenes are simulated into OUT/samples first.
Runs that are already there are not repeated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from rsmvs.network_options import CascadeOptions, DataOptions, TrainConfig, TrainOptions
from rsmvs.stages.train import train_cascade, write_samples

NETWORK = CascadeOptions(feature_channels=(4, 6, 8), regularizer_widths=(4, 4, 4), levels=2, hypotheses=(16, 8, 8),
                         reach_cells=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=Path, help="folder of samples (*.npz)")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--count", type=int, default=60, help="simulated samples, where none are given")
    parser.add_argument("--regularizers", default="casmvs,ucs,red")
    parser.add_argument("--rdm", default="none,oracle")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    args = parser.parse_args()
    data = DataOptions(crop=args.crop, count=args.count, evaluation=12, slack=10.0, rdm="oracle", gsd_max=0.8)
    samples = args.samples or args.out / "samples"
    if args.samples is None:
        write_samples(data, samples)
    data = replace(data, dataset="samples", dataset_root=str(samples))
    training = TrainOptions(steps=args.steps, lr=4e-3, eval_every=args.steps, save_every=50, ema=0.98, freeze_norm=0.7,
                            threads=1, seed=args.seed)
    print(f"{args.steps} steps, crops of {args.crop} px, evaluation on 12 other scenes")
    print(f"{'regulariser':12} {'RDM':8} {'error cut at 10 m':>18} {'MAE m':>7} {'PAG 1 m':>8} {'PAG 2.5 m':>10}")
    for regularizer in args.regularizers.split(","):
        for name in args.rdm.split(","):
            rdm = name != "none"
            network = replace(NETWORK, regularizer=regularizer, rdm=rdm, rdm_guide=rdm)
            folder = args.out / f"{regularizer}{'-rdm' if rdm else ''}-{args.steps}" / str(args.seed)
            card = folder / "last.json"
            if not card.exists():
                train_cascade(TrainConfig(network=network, training=training, data=data), folder)
            m = json.loads(card.read_text())["metrics"]
            print(f"{regularizer:12} {name:8} {m['mae_10']:18.3f} {m['mae']:7.2f} {m['pag_1']:8.1%} "
                  f"{m['pag_2.5']:10.1%}", flush=True)


if __name__ == "__main__":
    main()
