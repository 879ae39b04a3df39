"""From tiles to the products of the scene, and their evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rsmvs.config import scene_grid
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.evaluation.scoring import Scene, score
from rsmvs.fusion.filling import filled
from rsmvs.geometry.grid import Grid, Tile
from rsmvs.geometry.vertical import DATUM_NAMES, ELLIPSOID, product_crs, raster_wkt
from rsmvs.io.copc import write_copc
from rsmvs.io.geoid import find_geoid
from rsmvs.io.layers import DERIVED, DSM, IF_FUSED, MOSAICKED, NODATA, ORTHO, STATUS, UNCERTAINTY, Layer
from rsmvs.io.lidar import SUFFIXES, highest_points
from rsmvs.io.manifests import read_json, write_json
from rsmvs.io.pointcloud import merge_points
from rsmvs.io.raster import Canvas, band_names, cog_canvas, grid_of, opened, read_bands
from rsmvs.io.surfaces import opened_surface, plane_crs
from rsmvs.io.terrain import ground_under
from rsmvs.options import AreaOptions, LedgerOptions, ProductOptions, ReferenceOptions
from rsmvs.types import Window

MOSAIC_REVISION = 1
PACK_REVISION = 1
DERIVE_REVISION = 2
EVALUATE_REVISION = 1

_BLOCK = 2048  # cells; derived surfaces are made block by block
_CONTEXT = 150.0  # m around a block: wider than large buildings
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
    for layer in (*MOSAICKED, *(v for v in IF_FUSED if any(v.in_tiles in t.products for t in filled))):
        layer, bands = _stored_as(layer, filled)
        path = out_dir / f"{layer.name}.tif"
        with cog_canvas(path, grid, layer, crs=raster_wkt(crs), tags=tags, bands=bands) as canvas:
            for tile in filled:
                if layer is UNCERTAINTY and layer.in_tiles not in tile.products:
                    continue  # a matcher without an error estimate leaves it empty
                values, core = _part(tile, layer.in_tiles, grid)
                if layer is DSM and geoid is not None:
                    values = values - geoid.on_grid(core, crs)
                written = canvas.write(values, core)
                if layer is DSM:
                    valid[tile.tile] = int(np.isfinite(written).sum())
    with cog_canvas(out_dir / "status.tif", grid, STATUS, crs=raster_wkt(crs), tags=tags) as canvas:
        _draw_status(canvas, tiles, area)
    clouds = [_product(t, "points") for t in filled]
    points = merge_points(clouds, out_dir / "points.laz", bounds=grid.bounds, crs=crs, lowered=_lowering(options, crs))
    ledger = _ledger(tiles, valid, grid, points)
    write_json(out_dir / "ledger.json", ledger)
    return ledger


def pack_points(tile_ledgers: Sequence[str | Path], area: AreaOptions, options: ProductOptions, out_copc: str | Path) -> int:
    """The tiles' points as one COPC file, the form that viewers stream; their number."""
    crs = product_crs(area.crs, options.vertical)
    filled = [t for t in map(read_tile, tile_ledgers) if t.status == "ok"]
    parts = [(Tile.from_name(t.tile, area.tile_size), _product(t, "points")) for t in filled]
    return write_copc(parts, out_copc, bounds=scene_grid(area).bounds, crs=crs, lowered=_lowering(options, crs))


def _lowering(options: ProductOptions, crs: Any) -> Any:
    """What heights have to be lowered by at (x, y) for the vertical datum; None for the ellipsoid."""
    if options.vertical == ELLIPSOID:
        return None
    return partial(find_geoid(options.vertical, options.geoid).at_points, crs=crs)


def _product(tile: TileRecord, name: str) -> Path:
    if name not in tile.products:
        raise ManifestError(f"ledger of tile {tile.tile}", f"names no product '{name}'", "delete it and run again")
    return tile.products[name]


def _stored_as(layer: Layer, tiles: Sequence[TileRecord]) -> tuple[Layer, tuple[str, ...]]:
    """The layer with the number type and the bands of the tiles: an ortho is as its images are, grey or colour."""
    if layer is not ORTHO or not tiles:
        return layer, ()
    with opened(_product(tiles[0], layer.name)) as src:
        dtype, names = src.dtypes[0], band_names(src)
    floats = np.issubdtype(np.dtype(dtype), np.floating)
    return dataclasses.replace(layer, dtype=dtype, nodata=NODATA if floats else 0.0), names if len(names) > 1 else ()


def _part(tile: TileRecord, name: str, scene: Grid) -> tuple[Any, Grid]:
    """Values (band, h, w) of a tile's raster, NaN without data, with its grid; ManifestError when off the scene's cells."""
    path = _product(tile, name)
    values, transform = read_bands(path)
    grid = grid_of(transform, values.shape[1:], path)
    col, row = scene.offset_of(grid)
    off = max(abs(grid.x0 - scene.x0 - col * scene.step), abs(scene.y0 - grid.y0 - row * scene.step))
    if off > 1e-6 * scene.step or not math.isclose(grid.step, scene.step, rel_tol=1e-9):
        raise ManifestError(path, "does not lie on the cells of the scene", "delete the tile's folder and run again")
    return values, grid


def _draw_status(canvas: Canvas, tiles: Sequence[TileRecord], area: AreaOptions) -> None:
    """Why cells are empty: what the tiles say, and 'outside' where no tile is (the rest of a polygon's rectangle)."""
    outside = np.uint8(4)
    for block in blocks_of(canvas.grid, _BLOCK):
        canvas.write(np.full(block.shape, outside), block)
    for tile in tiles:
        if tile.status == "ok":
            values, core = _part(tile, DSM.name, canvas.grid)
            canvas.write(np.where(np.isfinite(values), 0, 1).astype(np.uint8), core)
        else:
            core = Grid.covering(Tile.from_name(tile.tile, area.tile_size).bounds, area.resolution)
            canvas.write(np.full(core.shape, 2 if tile.status == "empty" else 3, np.uint8), core)


def blocks_of(grid: Grid, size: int) -> Iterator[Grid]:
    """Parts of a grid of at most size x size cells that cover it, in row-major order."""
    for row in range(0, grid.height, size):
        for col in range(0, grid.width, size):
            yield _part_of(grid, Window(col, row, min(size, grid.width - col), min(size, grid.height - row)))


def _part_of(grid: Grid, window: Window) -> Grid:
    x0, y0 = grid.x0 + window.col * grid.step, grid.y0 - window.row * grid.step
    return Grid(x0, y0, grid.step, window.width, window.height)


def derive_surfaces(dsm: str | Path, options: ProductOptions, out_dir: str | Path) -> None:
    """From the scene's DSM: dtm.tif, ndsm.tif, dsm_filled.tif and filling.tif in `out_dir`.

    The scene is worked through in blocks with context around them; memory depends on the block alone.
    """
    with opened_surface(dsm) as surface, ExitStack() as files:
        src = surface.dataset
        grid = grid_of(src.transform, surface.shape, dsm)
        tags = {k: v for k, v in src.tags().items() if k == "VERTICAL_DATUM"}
        canvases = {
            v.name: files.enter_context(cog_canvas(Path(out_dir) / f"{v.name}.tif", grid, v, crs=src.crs, tags=tags))
            for v in DERIVED
        }
        margin = math.ceil(_CONTEXT / grid.step)
        for block in blocks_of(grid, _BLOCK):
            col, row = grid.offset_of(block)
            # cut at the rim of the scene: a frame of nothing around it would pull the cloth up
            window = Window(col, row, block.width, block.height).grown(margin).clipped(grid.width, grid.height)
            heights = surface.read(window)
            ground = ground_under(heights, _part_of(grid, window), options.max_object_size)
            whole, code = filled(heights, ground, round(options.fill_reach / grid.step))
            inner = Window(col - window.col, row - window.row, block.width, block.height).slices
            for name, values in (("dtm", ground), ("ndsm", heights - ground), ("dsm_filled", whole), ("filling", code)):
                canvases[name].write(values[inner], block)


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
    dsm: str | Path,
    reference: ReferenceOptions,
    out_json: str | Path | None = None,
    *,
    classes: str | Path | None = None,
    uncertainty: str | Path | None = None,
) -> dict[str, Any]:
    """Figures of a DSM against `reference.dsm`, by `reference.classes` where set; written where asked.

    A reference of LAS points counts as the highest point in each cell of the DSM.
    With a class map its figures, with an uncertainty raster (m) whether errors are as large as it says.

    See `rsmvs.evaluation.scoring.score` for what the figures are. Errors: ConfigError without a reference, ImageError
    for unreadable files, CoverageError for a reference without heights.
    """
    if reference.dsm is None:
        raise ConfigError("reference.dsm", "is not set", "name the DSM to evaluate against")
    with ExitStack() as files:
        truth_file = Path(reference.dsm)
        if truth_file.suffix.lower() in SUFFIXES:
            truth_file = Path(files.enter_context(TemporaryDirectory(prefix="rsmvs-"))) / "reference.tif"
            highest_points(reference.dsm, dsm, truth_file)
        truth = files.enter_context(opened_surface(truth_file))
        crs = plane_crs(truth)

        def surface(path: str | Path | None) -> Any:
            return None if path is None else files.enter_context(opened_surface(path, crs))

        maps = (surface(p) for p in (reference.classes, classes, uncertainty, reference.dtm))
        scene = Scene(surface(dsm), truth, *maps)
        result = {"revision": EVALUATE_REVISION} | score(scene, max_shift=reference.max_shift)
    if out_json is not None:
        write_json(out_json, result)
    return result
