"""How the tiles of a scene ended: the ledgers that they leave, and that of the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsmvs.errors import ManifestError
from rsmvs.geometry.grid import Grid
from rsmvs.io.manifests import read_json
from rsmvs.options import LedgerOptions

STATUSES = ("ok", "empty", "failed")


@dataclass(frozen=True)
class TileRecord:
    """What a tile's ledger says. notes: what a user should know of it. products: absolute paths by layer name."""

    tile: str
    status: str
    reason: str
    notes: tuple[str, ...]
    products: dict[str, Path]


def read_tile(path: str | Path) -> TileRecord:
    """A tile's ledger; ManifestError when it is none."""
    path = Path(path)
    content = read_json(path)
    try:
        products = {name: path.parent / relative for name, relative in content.get("products", {}).items()}
        notes = tuple(str(note) for note in content.get("notes", ()))
        record = TileRecord(content["tile"], content["status"], content.get("reason") or "", notes, products)
    except (KeyError, AttributeError, TypeError) as error:
        raise ManifestError(path, f"is no tile ledger ({error!r})", "delete it and run again") from None
    if record.status not in STATUSES:
        raise ManifestError(path, f"has status '{record.status}'", "delete it and run again")
    return record


def scene_ledger(tiles: Sequence[TileRecord], valid: dict[str, int], grid: Grid, points: int) -> dict[str, Any]:
    """Content of the scene's ledger. valid: cells with a height, by tile."""
    cells = grid.width * grid.height
    reasons: dict[str, int] = {}
    for tile in tiles:
        if tile.status != "ok":
            reasons[f"{tile.status}: {tile.reason}"] = reasons.get(f"{tile.status}: {tile.reason}", 0) + 1
    return {
        "tiles": {
            t.tile: {"status": t.status, "reason": t.reason, "notes": list(t.notes), "valid_cells": valid.get(t.tile, 0)}
            for t in tiles
        },
        "counts": {status: sum(t.status == status for t in tiles) for status in STATUSES},
        "reasons": reasons,
        "cells": cells,
        "valid_cells": sum(valid.values()),
        "completeness": round(100.0 * sum(valid.values()) / cells, 4),
        "points": points,
    }


def verdict(ledger: str | Path, options: LedgerOptions) -> tuple[bool, str]:
    """Whether a run counts as done, and one line that says how its tiles ended."""
    content = read_json(ledger)
    counts, total = content["counts"], len(content["tiles"])
    line = f"{total} tiles: " + ", ".join(f"{counts[s]} {s}" for s in STATUSES)
    line += f"; {content['completeness']:.1f} % of the cells have a height"
    for reason, number in sorted(content["reasons"].items()):
        line += f"; {number} x {reason}"
    return counts["failed"] <= options.max_failed * total, line
