"""`rsmvs prepare`: published data sets, finished runs and relative depth maps as files that training reads."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("samples", "plan", "rdm"),
                        help="samples: a published data set; plan: the view sets of a run; rdm: relative depth at three scales")
    parser.add_argument("source", help="folder of the data set, configuration of the run, or folder of one-channel maps")
    parser.add_argument("-o", "--out", required=True, help="folder to write")
    parser.add_argument("--config", help="samples: YAML with layout, sites, split (see config/datasets/)")
    parser.add_argument("--blurs", type=float, nargs=3, default=(0.0, 2.0, 8.0), help="rdm: Gaussian blur of the channels (px)")


def run(args: argparse.Namespace) -> int:
    from rsmvs.config import load_config
    from rsmvs.errors import ConfigError
    from rsmvs.stages.prepare import prepare_options, prepare_plan, prepare_rdm, prepare_samples
    from rsmvs.training.prepare_options import PrepareOptions

    if args.what == "rdm":
        print(f"{args.out}: {prepare_rdm(args.source, args.out, args.blurs)} relative depth maps")
    elif args.what == "plan":
        config = load_config(args.source)
        known = config.reference
        if known.dsm is None:
            raise ConfigError(args.source, "key 'reference.dsm' is not set", "name the DSM that holds the truth")
        print(f"{args.out}: {prepare_plan(config.output, config.area, known.dsm, known.classes, args.out)} samples")
    else:
        options = prepare_options(args.config) if args.config else PrepareOptions()
        for part, count in prepare_samples(args.source, options, args.out).items():
            print(f"{args.out}/{part}: {count} samples".replace("/:", ":"))
    return 0

