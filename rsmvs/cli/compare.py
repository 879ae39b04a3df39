"""`rsmvs compare`: two products of one area, such as before and after, or two programs' work."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", help="surface, or class map (a raster of bytes)")
    parser.add_argument("b", help="what it is compared with, of the same kind; figures are of A less B, on the cells of B")
    parser.add_argument("--reference", help="surface (raster or LAS points) or class map that both are judged by, side by side")
    parser.add_argument("--reference-classes", help="class map of the reference; figures are then told by class, too")
    parser.add_argument(
        "--max-shift", type=float, default=3.0, help="largest horizontal shift searched between two surfaces, in metres"
    )
    parser.add_argument("--json", help="write all figures to this file")
    parser.add_argument("--picture", help="write a map of the differences of heights after the shift to this PNG")


def run(args: argparse.Namespace) -> int:
    from rsmvs.cli.evaluate import show
    from rsmvs.errors import ConfigError
    from rsmvs.io.manifests import write_json
    from rsmvs.stages.evaluation import is_class_map

    maps = [is_class_map(path) for path in (args.a, args.b)]
    if maps[0] != maps[1]:
        raise ConfigError("arguments", f"{args.a} and {args.b} are a surface and a class map", "compare two of one kind")
    if maps[0] and args.picture:
        raise ConfigError("--picture", "is drawn of surfaces only", "leave it out")
    result: dict[str, Any] = {}
    show(_classes(args, result) if maps[0] else _heights(args, result))
    if args.json:
        write_json(args.json, result)
    return 0


def _heights(args: argparse.Namespace, result: dict[str, Any]) -> Iterator[Any]:
    from rsmvs.cli.tables import figures, moved, parts, raw_and_aligned
    from rsmvs.config import build
    from rsmvs.options import ReferenceOptions
    from rsmvs.stages.evaluation import evaluate
    from rsmvs.stages.report import picture_difference

    def against(dsm: str, reference: str) -> dict[str, Any]:
        values = {"dsm": reference, "classes": args.reference_classes if args.reference else None, "max_shift": args.max_shift}
        return evaluate(dsm, build(ReferenceOptions, values, "arguments"))

    result.update(against(args.a, args.b) if not args.reference else {})
    if args.reference:
        both = result["a"], result["b"] = against(args.a, args.reference), against(args.b, args.reference)
        named = dict(zip("AB", both, strict=True))
        notes = sorted({r["note"] for r in both if "note" in r})
        columns = {f"{n} {k}": v for n, r in named.items() for k, v in raw_and_aligned(r).items()}
        yield figures(columns, "\n".join(notes) or None)
        for name, found in named.items():
            yield f"aligned: {name} moved by {moved(found['shift'])}"
        for key, title in (("by_class", "by class"), ("by_slope", "by slope °")):
            for name, found in named.items():
                if key in found:
                    yield parts(f"{name} {title}", found[key])
    else:
        yield figures(raw_and_aligned(result), result.get("note"))
        yield f"aligned: A moved by {moved(result['shift'])}"
        yield parts("by slope of B °", result["by_slope"])
    if args.picture:
        shift = result["shift"] if not args.reference else against(args.a, args.b)["shift"]
        picture_difference(args.a, args.b, shift, args.picture)
        yield f"{args.picture}: A less B, blue -3 m to red +3 m"


def _classes(args: argparse.Namespace, result: dict[str, Any]) -> Iterator[Any]:
    from rsmvs.cli.tables import class_tables
    from rsmvs.stages.evaluation import evaluate_classes

    reference = args.reference or args.reference_classes
    if reference:
        result["a"], result["b"] = (evaluate_classes(path, reference) for path in (args.a, args.b))
        yield from class_tables({"A": result["a"]["classes"], "B": result["b"]["classes"]})
    else:
        result.update(evaluate_classes(args.a, args.b))
        yield "A against B:"
        yield from class_tables({"": result["classes"]})
