"""`rsmvs compare`: two surfaces of one area, such as before and after, or two programs' work."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="surface")
    parser.add_argument("b", help="surface that it is compared with; figures are of A less B, on the cells of B")
    parser.add_argument(
        "--max-shift", type=float, default=3.0, help="largest horizontal shift searched between the two, in metres"
    )
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--picture", help="write a map of the differences after the shift to this PNG")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from rsmvs.cli.evaluate import figures
    from rsmvs.config import build
    from rsmvs.options import ReferenceOptions
    from rsmvs.stages.products import evaluate
    from rsmvs.stages.report import picture_difference

    options = build(ReferenceOptions, {"dsm": args.b, "max_shift": args.max_shift}, "arguments")
    result = evaluate(args.a, options, args.json)
    console = Console(highlight=False)
    console.print(figures(result))
    shift = result["shift"]
    console.print(f"aligned: A moved by {shift['dx']:.2f} m east, {shift['dy']:.2f} m north, {shift['dz']:.2f} m up")
    if args.picture:
        picture_difference(args.a, args.b, shift, args.picture)
        console.print(f"{args.picture}: A less B, blue -3 m to red +3 m")
    return 0
