"""From tiles to the products of the scene, and their evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.config import scene_grid
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.evaluation.scoring import Scene, score
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import DATUM_NAMES, ELLIPSOID, product_crs, raster_wkt
from rsmvs.io.geoid import find_geoid
from rsmvs.io.manifests import read_json, write_json
from rsmvs.io.pointcloud import merge_points
from rsmvs.io.raster import NODATA, Layer, cog_canvas, grid_of, opened, read_band
from rsmvs.io.surfaces import opened_surface, plane_crs
from rsmvs.options import AreaOptions, LedgerOptions, ProductOptions, ReferenceOptions

MOSAIC_REVISION = 1
EVALUATE_REVISION = 1

DSM = Layer("dsm", "height", "m", "float32", NODATA)
N_VIEWS = Layer("n_views", "agreeing views", "count", "uint8", None, "nearest")
CONFIDENCE = Layer("confidence", "confidence", "1", "float32", NODATA)
ORTHO = Layer("ortho", "panchromatic", "digital number", "uint16", 0.0)
LAYERS = (DSM, N_VIEWS, CONFIDENCE, ORTHO)
STATUSES = ("ok", "empty", "failed")


@dataclass(frozen=True)
class TileRecord:
    """What a tile's ledger says. products: absolute paths by layer name."""

    tile: str
    status: str
    reason: str
    products: dict[str, Path]


def read_tile(path: str | Path) -> TileRecord:
    """A tile's ledger; ManifestError when it is none."""
    path = Path(path)
    content = read_json(path)
    try:
        products = {name: path.parent / relative for name, relative in content.get("products", {}).items()}
        record = TileRecord(content["tile"], content["status"], content.get("reason") or "", products)
    except (KeyError, AttributeError, TypeError) as error:
        raise ManifestError(path, f"is no tile ledger ({error!r})", "delete it and run again") from None
    if record.status not in STATUSES:
        raise ManifestError(path, f"has status '{record.status}'", "delete it and run again")
    return record


def mosaic_scene(
    tile_ledgers: Sequence[str | Path], area: AreaOptions, options: ProductOptions, out_dir: str | Path
) -> dict[str, Any]:
    """The tiles as one COG a layer, one point cloud and one ledger in `out_dir`; the ledger's content.

    Tiles without data leave their cells empty. Heights leave here above the vertical datum of `options`. Memory does
    not grow with the number of tiles, and their order does not matter.
    """
    out_dir, grid, crs = Path(out_dir), scene_grid(area), product_crs(area.crs, options.vertical)
    geoid = None if options.vertical == ELLIPSOID else find_geoid(options.vertical, options.geoid)
    tiles = sorted((read_tile(p) for p in tile_ledgers), key=lambda t: t.tile)
    filled = [t for t in tiles if t.status == "ok"]
    tags = {"VERTICAL_DATUM": DATUM_NAMES[options.vertical]}
    valid: dict[str, int] = {}
    for layer in LAYERS:
        layer = _stored_as(layer, filled)
        with cog_canvas(out_dir / f"{layer.name}.tif", grid, layer, crs=raster_wkt(crs), tags=tags) as canvas:
            for tile in filled:
                values, core = _part(tile, layer.name, grid)
                if layer is DSM and geoid is not None:
                    values = values - geoid.on_grid(core, crs)
                written = canvas.write(values, core)
                if layer is DSM:
                    valid[tile.tile] = int(np.isfinite(written).sum())
    lowered = None if geoid is None else partial(geoid.at_points, crs=crs)
    clouds = [_product(t, "points") for t in filled]
    points = merge_points(clouds, out_dir / "points.laz", bounds=grid.bounds, crs=crs, lowered=lowered)
    ledger = _ledger(tiles, valid, grid, points)
    write_json(out_dir / "ledger.json", ledger)
    return ledger


def _product(tile: TileRecord, name: str) -> Path:
    if name not in tile.products:
        raise ManifestError(f"ledger of tile {tile.tile}", f"names no product '{name}'", "delete it and run again")
    return tile.products[name]


def _stored_as(layer: Layer, tiles: Sequence[TileRecord]) -> Layer:
    """The layer with the number type of the tiles: an ortho is uint16 where the images are, else float32."""
    if layer is not ORTHO or not tiles:
        return layer
    with opened(_product(tiles[0], layer.name)) as src:
        dtype = src.dtypes[0]
    floats = np.issubdtype(np.dtype(dtype), np.floating)
    return Layer(layer.name, layer.band, layer.unit, dtype, NODATA if floats else 0.0)


def _part(tile: TileRecord, name: str, scene: Grid) -> tuple[Any, Grid]:
    """Values (h, w) of a tile's raster, NaN without data, with its grid; ManifestError when off the scene's lattice."""
    path = _product(tile, name)
    values, transform, _ = read_band(path)
    grid = grid_of(transform, values.shape, path)
    col, row = scene.offset_of(grid)
    off = max(abs(grid.x0 - scene.x0 - col * scene.step), abs(scene.y0 - grid.y0 - row * scene.step))
    if off > 1e-6 * scene.step or not math.isclose(grid.step, scene.step, rel_tol=1e-9):
        raise ManifestError(path, "does not lie on the cells of the scene", "delete the tile's folder and run again")
    return values, grid


def _ledger(tiles: Sequence[TileRecord], valid: dict[str, int], grid: Grid, points: int) -> dict[str, Any]:
    cells = grid.width * grid.height
    reasons: dict[str, int] = {}
    for tile in tiles:
        if tile.status != "ok":
            reasons[f"{tile.status}: {tile.reason}"] = reasons.get(f"{tile.status}: {tile.reason}", 0) + 1
    return {
        "revision": MOSAIC_REVISION,
        "tiles": {t.tile: {"status": t.status, "reason": t.reason, "valid_cells": valid.get(t.tile, 0)} for t in tiles},
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


def evaluate(
    dsm: str | Path, reference: ReferenceOptions, out_json: str | Path | None = None, *, classes: str | Path | None = None
) -> dict[str, Any]:
    """Figures of a DSM (and of a class map) against `reference.dsm` (and `reference.classes`); written where asked.

    See `rsmvs.evaluation.scoring.score` for what the figures are. Errors: ConfigError without a reference, ImageError
    for unreadable files, CoverageError for a reference without heights.
    """
    if reference.dsm is None:
        raise ConfigError("reference.dsm", "is not set", "name the DSM to evaluate against")
    with ExitStack() as files:
        truth = files.enter_context(opened_surface(reference.dsm))
        crs = plane_crs(truth)

        def surface(path: str | Path | None) -> Any:
            return None if path is None else files.enter_context(opened_surface(path, crs))

        scene = Scene(surface(dsm), truth, surface(reference.classes), surface(classes))
        result = {"revision": EVALUATE_REVISION} | score(scene, max_shift=reference.max_shift)
    if out_json is not None:
        write_json(out_json, result)
    return result
