"""`rsmvs evaluate`: a DSM, a class map or both against a reference."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dsm", nargs="?", help="surface to judge; left out where a class map is judged alone")
    parser.add_argument("--reference", help="reference surface: a raster or LAS points")
    parser.add_argument("--classes", help="class map of the surface")
    parser.add_argument(
        "--reference-classes",
        help="class map of the reference (LAS codes), raster or LAS points; figures are then told by class. Classified "
        "points given as --reference need none",
    )
    parser.add_argument("--reference-dtm", help="reference terrain; what stands on it is then compared in plan and volume")
    parser.add_argument("--uncertainty", help="uncertainty of the surface in metres; it is then compared with the errors")
    parser.add_argument("--max-shift", type=float, help="largest horizontal shift searched between the two, in metres")
    parser.add_argument("--json", help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    from rsmvs.cli.tables import scores
    from rsmvs.config import build
    from rsmvs.errors import ConfigError
    from rsmvs.options import ReferenceOptions
    from rsmvs.stages.evaluation import evaluate, evaluate_classes

    if args.dsm is None:
        truth = args.reference_classes or args.reference
        if args.classes is None or truth is None:
            raise ConfigError("arguments", "name nothing to compare", "give a DSM with --reference, or --classes with "
                              "--reference-classes")  # fmt: skip
        show(scores(evaluate_classes(args.classes, truth, args.json)))
        return 0
    if args.reference is None:
        raise ConfigError("--reference", "is not given", "name the surface to compare with, a raster or LAS points")
    values = {"dsm": args.reference, "classes": args.reference_classes, "dtm": args.reference_dtm, "max_shift": args.max_shift}
    options = build(ReferenceOptions, {k: v for k, v in values.items() if v is not None}, "arguments")
    show(scores(evaluate(args.dsm, options, args.json, classes=args.classes, uncertainty=args.uncertainty)))
    return 0


def show(parts: Iterable[Any]) -> None:
    """Tables and lines, a blank line between them."""
    from rich.console import Console

    console = Console(highlight=False)
    for i, part in enumerate(parts):
        if i and not isinstance(part, str):
            console.print()
        console.print(part, soft_wrap=isinstance(part, str))
