"""`rsmvs simulate`: a synthetic scene with exact truth, and a configuration that is ready to run."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", required=True, help="folder to write: images/, truth/, config.yaml")
    parser.add_argument("--preset", default="demo", help="demo (256 m, four views) or tiny (64 m, three views)")
    parser.add_argument("--seed", type=int, default=0, help="another number is another town")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from rsmvs.simulate.options import preset
    from rsmvs.stages.simulate import simulate

    options = preset(args.preset, args.seed)
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("building the town and taking its pictures"):
            config = simulate(options, args.out)
    else:
        config = simulate(options, args.out)
    print(f"{config} is ready: rsmvs run {config}")
    return 0
