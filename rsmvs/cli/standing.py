"""`rsmvs run --keep-cameras`: the cameras that a run has stand while images are added to it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rsmvs.errors import ConfigError

FOLDER = "standing"  # in the folder of the run: the copy of 'adjusted' that adjust.freeze is set to


def with_cameras_kept(config: Any) -> Any:
    """The configuration with `adjust.freeze` set to the cameras from before the latest addition of images.

    They are copied when images are new, which every later run with the option then finds as they were: an addition gives
    the same plans however often it was interrupted. Without an adjustment, or without an addition so far, nothing is set.
    """
    from rsmvs.config import view_ids

    if config.adjust.freeze:
        raise ConfigError("--keep-cameras", "adjust.freeze names cameras already", "leave out one of the two")
    adjusted, standing = (Path(config.output) / name for name in ("adjusted", FOLDER))
    known = views_of(adjusted)
    if config.adjust.mode != "none" and known and not known.issuperset(view_ids(config)):
        fresh = standing.with_name(f".{FOLDER}")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(adjusted, fresh)
        shutil.rmtree(standing, ignore_errors=True)
        fresh.rename(standing)
    return replace(config, adjust=replace(config.adjust, freeze=str(standing))) if views_of(standing) else config


def views_of(folder: Path) -> set[str]:
    """Ids of the views of an adjustment; none where there is none, or a damaged one, of which its readers tell."""
    try:
        return {str(view["id"]) for view in json.loads((folder / "views.json").read_text())["views"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def give_up_cameras(config: Any) -> None:
    """A run without the option adjusts all cameras together: what was kept before would be wrong for a later addition."""
    standing = Path(config.output) / FOLDER
    if standing.is_dir():
        shutil.rmtree(standing)
        print("note: without --keep-cameras all cameras are adjusted together, and all tiles are made again", file=sys.stderr)


def as_arguments(config: Any, others: Sequence[str]) -> list[str]:
    """For Snakemake, which reads the configuration's file itself. others: the user's own arguments for it."""
    if not config.adjust.freeze:
        return []
    if {"--config", "-C"} & set(others):
        remedy = "write into the configuration what it says"
        raise ConfigError("--keep-cameras", "goes to Snakemake by --config, which is given too", remedy)
    return ["--config", f"adjust={json.dumps({'freeze': config.adjust.freeze})}"]
