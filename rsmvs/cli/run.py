"""`rsmvs run`: a configuration from images to products, by Snakemake in its own process."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

# Beside the rasters, whose meanings stand in rsmvs.io.layers.
_OTHER_PRODUCTS = {
    "points.laz": "classified point cloud, LAS 1.4",
    "points.copc.laz": "the same, for viewing over the network",
    "ledger.json": "how each tile ended",
    "metrics.json": "comparison with the reference",
    "preview.png": "relief and orthoimage",
    "item.json": "the products for catalogues (STAC)",
    "manifest.json": "what the products were made from, with checksums",
    "report.html": "all of this as one page for a browser",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "rsmvs run CONFIG [--cores N] [--profile NAME] [--target NAME] [-n] [-- snakemake arguments]"
    parser.add_argument("config", help="configuration (YAML); 'rsmvs init' writes one")
    parser.add_argument("--cores", default="all", help="jobs at a time on this machine (all)")
    parser.add_argument("--profile", help="folder under profiles/, or any Snakemake profile, for a cluster")
    parser.add_argument("--target", default="all", help="adjust, plan, heights, products, all, or a file of the run")
    parser.add_argument("-n", "--dry-run", action="store_true", help="only tell what would be done")
    parser.add_argument("snakemake", nargs="*", help="arguments for Snakemake, after --")


def run(args: argparse.Namespace) -> int:
    """0 when all products are there and no more tiles failed than the configuration allows."""
    from rsmvs.cli.workflow import Workflow, held
    from rsmvs.config import load_config

    config = load_config(args.config)
    check(config)
    folder = Path(config.output)
    with held(folder):
        workflow = Workflow(Path(args.config).resolve(), folder, args.cores, args.profile, args.snakemake)
        workflow.unlock()
        if args.dry_run:
            return workflow.dry_run([args.target, *retried(config)])
        # Two passes: a tile whose plan is the same as before is left alone only when the plan is not made in its pass.
        passes = ["adjust"] if args.target == "adjust" else list(dict.fromkeys(["plan", args.target]))
        for name in passes:
            if workflow.run(name, [name, *(retried(config) if name not in ("adjust", "plan") else [])]):
                return 1
    return report(folder, config) if args.target == "all" else 0


def check(config: Any) -> None:
    """What can be told without opening an image: that all files are there, and the area holds tiles."""
    from rsmvs.config import tiles, view_ids
    from rsmvs.errors import ConfigError

    view_ids(config)
    tiles(config)
    parts = [(f"images[{i}]", image) for i, image in enumerate(config.images)] + [("reference", config.reference)]
    for name, options in parts:
        for f in (f for f in fields(options) if f.metadata["path"]):
            value = getattr(options, f.name)
            for path in (value,) if isinstance(value, str) else value or ():
                if not _reachable(path):
                    raise ConfigError(path, "does not exist", f"check {name}.{f.name} in the configuration")


def _reachable(path: str) -> bool:
    return path.startswith("/vsi") or "://" in path or Path(path).is_file()


def retried(config: Any) -> list[str]:
    """Snakemake arguments that make tiles which failed last time run again."""
    from rsmvs.config import tiles
    from rsmvs.io.manifests import read_json

    folder, failed = Path(config.output), []
    for tile in tiles(config):
        ledger = folder / "tiles" / tile.name / "ledger.json"
        if ledger.is_file() and read_json(ledger).get("status") == "failed":
            failed.append(f"tiles/{tile.name}/heights/index.json")
    return ["--forcerun", *failed] if failed else []


def report(folder: Path, config: Any) -> int:
    """Print the products, their accuracy where there is a reference, and last how the tiles ended."""
    from rich.console import Console
    from rich.table import Table

    from rsmvs.cli.evaluate import figures
    from rsmvs.io.layers import ALL
    from rsmvs.io.manifests import read_json
    from rsmvs.stages.products import verdict

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table(box=None, pad_edge=False)
    for title, justify in (("product", "left"), ("size", "right"), ("what it is", "left")):
        table.add_column(title, justify=justify, no_wrap=title != "what it is")  # type: ignore[arg-type]
    meanings = {f"{layer.name}.tif": layer.meaning for layer in ALL} | _OTHER_PRODUCTS
    written = {p.name: p for p in sorted((folder / "products").iterdir()) if not p.name.startswith(".")}
    for name in [*(n for n in meanings if n in written), *(n for n in written if n not in meanings)]:
        table.add_row(_near(written[name]), _size(written[name].stat().st_size), meanings.get(name, ""))
    console.print(table)
    metrics = folder / "products" / "metrics.json"
    if metrics.is_file():
        console.print(figures(read_json(metrics)))
    good, line = verdict(folder / "products" / "ledger.json", config.ledger)
    console.print(line)
    if not good:
        print(f"error: more tiles failed than ledger.max_failed = {config.ledger.max_failed:g} allows", file=sys.stderr)
    return 0 if good else 1


def _near(path: Path) -> str:
    """The path from here when that is shorter."""
    return min(os.path.relpath(path), str(path), key=len)


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
