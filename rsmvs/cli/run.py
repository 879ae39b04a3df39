"""`rsmvs run`: a configuration from images to products, by Snakemake in its own process."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

_ROUNDS = 5  # damaged files are taken away as they are met, and made again by another round
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
    parser.usage = ("rsmvs run CONFIG [--cores N] [--profile NAME] [--target NAME | --tile NAME] [--keep-cameras] [-n] "
                    "[-- snakemake arguments]")
    parser.add_argument("config", help="configuration (YAML); 'rsmvs init' writes one")
    parser.add_argument("--cores", default="all", help="jobs at a time on this machine (all)")
    parser.add_argument("--profile", help="folder under profiles/, or any Snakemake profile, for a cluster")
    parser.add_argument("--target", default="all", help="adjust, plan, heights, products, all, train, or a file of the run")
    parser.add_argument("--tile", action="append", default=[], metavar="NAME", help="make this tile again, alone; repeatable")
    parser.add_argument("--keep-cameras", action="store_true",
                        help="new images are fitted to the cameras that the run has: tiles they do not see stay; from then on "
                             "with every run")  # fmt: skip
    parser.add_argument("-n", "--dry-run", action="store_true", help="only tell what would be done")
    parser.epilog = "What stands after -- goes to Snakemake."


def run(args: argparse.Namespace) -> int:
    """0 when all products are there and no more tiles failed than the configuration allows."""
    from rsmvs.cli import standing
    from rsmvs.cli.workflow import Workflow, held, modules_of
    from rsmvs.config import load_config
    from rsmvs.warm import warm_process

    config = load_config(args.config)
    check(config)
    folder = Path(config.output)
    with held(folder):
        words = args.snakemake
        if args.keep_cameras:
            config = standing.with_cameras_kept(config)
            words = [*words, *standing.as_arguments(config, words)]
        elif not args.dry_run:
            standing.give_up_cameras(config)
        workflow = Workflow(Path(args.config).resolve(), folder, args.cores, args.profile, words)
        workflow.unlock()
        tell_additions(config)
        targets = [f"tiles/{name}/ledger.json" for name in known_tiles(config, args.tile)] or [args.target]
        if args.dry_run:
            workflow.planned = plans_are_whole(config) and workflow.stands("plan")
            return workflow.dry_run([*targets, *forced(config, args.tile)])
        with warm_process(modules_of(config), wanted=workflow.local and args.target != "train") as workflow.jobs:
            good = in_rounds(workflow, config, targets, args.tile)
    if args.tile:
        return tell_tiles(folder, args.tile) if good else 1
    return 1 if not good else report(folder, config) if args.target == "all" else 0


def in_rounds(workflow: Any, config: Any, targets: list[str], tiles: list[str]) -> bool:
    """Whether the targets could be made, once no damaged file turns up any more."""
    for _ in range(_ROUNDS):
        known = len(workflow.damaged)
        good = complete(workflow, config, targets, tiles)
        if len(workflow.damaged) == known and not (good and halted(config)):
            break
    return good


def tell_additions(config: Any) -> None:
    """Say what images added to an adjusted area lead to, where nothing was said of the cameras that it has."""
    import json

    from rsmvs.config import view_ids

    adjusted = Path(config.output) / "adjusted" / "views.json"
    if config.adjust.freeze or config.adjust.mode == "none" or not adjusted.is_file():
        return
    with suppress(ValueError, KeyError, TypeError):  # damaged: its readers say so
        known = {view["id"] for view in json.loads(adjusted.read_text())["views"]}
        new = set(view_ids(config)) - known
        if new and known <= set(view_ids(config)):
            print(f"note: {len(new)} of {len(known | new)} images are new: all cameras move a little, and all tiles are made "
                  "again; --keep-cameras keeps those that are finished (docs/cluster.md)", file=sys.stderr)  # fmt: skip


def complete(workflow: Any, config: Any, targets: list[str], tiles: list[str]) -> bool:
    """Whether the targets could be made.

    Two passes: a tile whose plan is the same as before is left alone only when the plan is not made in its pass.
    """
    workflow.planned = False
    if targets in (["adjust"], ["train"]):
        return workflow.run(targets[0], targets) == 0
    if not plans_are_whole(config):
        (Path(config.output) / "plan.json").unlink(missing_ok=True)
    if workflow.run("plan", ["plan"]):
        return False
    if targets == ["plan"]:
        return True
    workflow.planned = True
    return workflow.run(tiles[0] if tiles else targets[0], [*targets, *forced(config, tiles)]) == 0


def plans_are_whole(config: Any) -> bool:
    """Whether the plan of the area and those of all its tiles are there: the workflow knows the first one only."""
    from rsmvs.config import tiles

    folder = Path(config.output)
    return (folder / "plan.json").is_file() and all((folder / "tiles" / t.name / "plan.json").is_file() for t in tiles(config))


def check(config: Any) -> None:
    """What can be told without opening an image: that all files are there, weights are whole, and the area holds tiles."""
    from rsmvs.config import frozen_views, tiles, view_ids
    from rsmvs.errors import ConfigError

    view_ids(config)
    frozen_views(config)
    tiles(config)
    check_weights(config)
    parts = [(f"images[{i}]", image) for i, image in enumerate(config.images)] + [("reference", config.reference)]
    for name, options in parts:
        for f in (f for f in fields(options) if f.metadata["path"]):
            value = getattr(options, f.name)
            for path in (value,) if isinstance(value, str) else value or ():
                if not _reachable(path):
                    raise ConfigError(path, "does not exist", f"check {name}.{f.name} in the configuration")


def check_weights(config: Any) -> None:
    """All weights that the configuration uses, against the checksums in their cards; of a folder of a depth model, which has
    none, that its files are whole."""
    from rsmvs.io.weights import EMBEDDED, RDM, read_card

    names = [config.fuse.refine.weights] if config.fuse.refine.weights != "none" else []
    if config.heights.model != "sgm":
        names.append(config.heights.weights)
    if config.heights.rdm:
        model = config.rdm.model or RDM
        if model.endswith(".safetensors") or (EMBEDDED / f"{model}.safetensors").is_file():
            names.append(model)
        elif Path(model).is_dir():
            check_whole(Path(model))
    for name in names:
        read_card(name)


def check_whole(folder: Path) -> None:
    """ManifestError when a safetensors file of a folder is cut off or none."""
    from safetensors import SafetensorError, safe_open

    from rsmvs.errors import ManifestError

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "np"):
                pass
        except SafetensorError as error:
            raise ManifestError(path, f"is damaged ({error})", "restore it") from None


def _reachable(path: str) -> bool:
    return path.startswith("/vsi") or "://" in path or Path(path).is_file()


def known_tiles(config: Any, names: list[str]) -> list[str]:
    """The names, when all of them are tiles of the area."""
    from rsmvs.config import tiles
    from rsmvs.errors import ConfigError

    known = [tile.name for tile in tiles(config)]
    for name in names:
        if name not in known:
            remedy = f"there are {len(known)}, {known[0]} to {known[-1]}"
            raise ConfigError("--tile", f"'{name}' is no tile of the area", remedy)
    return names


def forced(config: Any, tiles: list[str]) -> list[str]:
    """Snakemake arguments that make the named tiles again, or else those which failed last time."""
    names = tiles or failed_tiles(config)
    stages = ("rdm", "heights") if config.heights.rdm else ("heights",)
    return ["--forcerun", *(f"tiles/{name}/{stage}/index.json" for name in names for stage in stages)] if names else []


def failed_tiles(config: Any) -> list[str]:
    """Names of the tiles whose ledger says that they failed; one that cannot be read counts as well."""
    from rsmvs.config import tiles
    from rsmvs.errors import ManifestError
    from rsmvs.io.manifests import read_json

    failed = []
    for tile in tiles(config):
        ledger = Path(config.output) / "tiles" / tile.name / "ledger.json"
        try:
            if ledger.is_file() and read_json(ledger).get("status") == "failed":
                failed.append(tile.name)
        except ManifestError:
            ledger.unlink()
    return failed


def halted(config: Any) -> list[str]:
    """Failed tiles one of whose intermediate files was damaged: it has been removed, and is made again."""
    stages = ("plan.json", "heights/index.json", "consistent/index.json", *(("rdm/index.json",) if config.heights.rdm else ()))
    folder = Path(config.output) / "tiles"
    return [name for name in failed_tiles(config) if not all((folder / name / stage).is_file() for stage in stages)]


def tell_tiles(folder: Path, names: list[str]) -> int:
    """Print how the named tiles ended; 1 when one of them failed."""
    from rsmvs.io.manifests import read_json

    ledgers = [read_json(folder / "tiles" / name / "ledger.json") for name in names]
    for ledger in ledgers:
        print(f"{ledger['tile']}: {ledger['status']}" + (f", {ledger['reason']}" if ledger["reason"] else ""))
    print("the products are as before; the same command without --tile renews them")
    return int(any(ledger["status"] == "failed" for ledger in ledgers))


def report(folder: Path, config: Any) -> int:
    """Print the products, their accuracy where there is a reference, and last how the tiles ended."""
    from rich.console import Console
    from rich.table import Table

    from rsmvs.cli.tables import figures, raw_and_aligned
    from rsmvs.io.layers import ALL, SIDE_FILES
    from rsmvs.io.manifests import read_json
    from rsmvs.stages.scene_ledger import verdict

    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table(box=None, pad_edge=False)
    for title, justify in (("product", "left"), ("size", "right"), ("what it is", "left")):
        table.add_column(title, justify=justify, no_wrap=title != "what it is")  # type: ignore[arg-type]
    meanings = {f"{layer.name}.tif": layer.meaning for layer in ALL} | SIDE_FILES | _OTHER_PRODUCTS
    written = {p.name: p for p in sorted((folder / "products").iterdir()) if not p.name.startswith(".")}
    for name in [*(n for n in meanings if n in written), *(n for n in written if n not in meanings)]:
        table.add_row(_near(written[name]), _size(written[name].stat().st_size), meanings.get(name, ""))
    console.print(table)
    if config.reference.dsm:
        metrics = read_json(folder / "products" / "metrics.json")
        console.print(figures(raw_and_aligned(metrics), metrics.get("note")))
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
