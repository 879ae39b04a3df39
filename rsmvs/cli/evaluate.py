"""`rsmvs evaluate`: a DSM against a reference."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

_FIGURES = ("completeness", "pag_1.0", "pag_2.5", "rmse", "mae", "nmad", "median")
_UNITS = {"completeness": "%", "pag_1.0": "%", "pag_2.5": "%"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dsm", help="surface to judge")
    parser.add_argument("--reference", required=True, help="reference DSM")
    parser.add_argument("--classes", help="class map of the surface")
    parser.add_argument("--reference-classes", help="class map of the reference (LAS codes); figures are then told by class")
    parser.add_argument("--reference-dtm", help="reference terrain; what stands on it is then compared in plan and volume")
    parser.add_argument("--uncertainty", help="uncertainty of the surface in metres; it is then compared with the errors")
    parser.add_argument("--max-shift", type=float, help="largest horizontal shift searched between the two, in metres")
    parser.add_argument("--json", help="write all figures to this file")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from rsmvs.config import build
    from rsmvs.options import ReferenceOptions
    from rsmvs.stages.products import evaluate

    values = {"dsm": args.reference, "classes": args.reference_classes, "dtm": args.reference_dtm, "max_shift": args.max_shift}
    options = build(ReferenceOptions, {k: v for k, v in values.items() if v is not None}, "arguments")
    result = evaluate(args.dsm, options, args.json, classes=args.classes, uncertainty=args.uncertainty)
    Console(highlight=False).print(figures(result))
    return 0


def figures(result: Mapping[str, Any]) -> Any:
    """The main figures as a table: as the surface lies, and after the shift that aligns it best."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    columns = {name: result[name] for name in ("raw", "aligned") if name in result}
    for name in ("figure", *columns, "unit"):
        table.add_column(name, justify="right" if name in columns else "left", no_wrap=True)
    for name in _FIGURES:
        values = [column.get(name) for column in columns.values()]
        table.add_row(name, *("-" if v is None else f"{v:.2f}" for v in values), _UNITS.get(name, "m"))
    return table
