"""From tiles to the products of the scene."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.config import scene_grid
from rsmvs.errors import ManifestError
from rsmvs.geometry.grid import Grid, Tile
from rsmvs.geometry.vertical import DATUM_NAMES, ELLIPSOID, product_crs, raster_wkt
from rsmvs.io.class_names import side_file
from rsmvs.io.geoid import find_geoid
from rsmvs.io.layers import CLASSIFIED, DERIVED, DSM, MOSAICKED, NODATA, ORTHO, STATUS, UNCERTAINTY, Layer
from rsmvs.io.manifests import write_json
from rsmvs.io.raster import Canvas, band_names, cog_canvas, grid_of, opened, read_bands
from rsmvs.io.surfaces import opened_surface
from rsmvs.options import AreaOptions, ProductOptions
from rsmvs.stages.scene_ledger import TileRecord, read_tile, scene_ledger
from rsmvs.types import Window

MOSAIC_REVISION = 4
PACK_REVISION = 2
DERIVE_REVISION = 3

_BLOCK = 2048  # cells; derived surfaces are made block by block
_CONTEXT = 150.0  # m around a block: wider than large buildings


def mosaic_scene(
    tile_ledgers: Sequence[str | Path], area: AreaOptions, options: ProductOptions, out_dir: str | Path, classes: bool = False
) -> dict[str, Any]:
    """The tiles as one COG a layer, one point cloud and one ledger in `out_dir`; the ledger's content.

    Tiles without data leave their cells empty. Heights leave here above the vertical datum of `options`. classes: whether
    the matcher gives any; without, rasters of classes from an earlier run are removed. Memory does not grow with the
    number of tiles, and their order does not matter.
    """
    from rsmvs.io.pointcloud import merge_points

    out_dir, grid, crs = Path(out_dir), scene_grid(area), product_crs(area.crs, options.vertical)
    geoid = None if options.vertical == ELLIPSOID else find_geoid(options.vertical, options.geoid)
    tiles = sorted((read_tile(p) for p in tile_ledgers), key=lambda t: t.tile)
    filled = [t for t in tiles if t.status == "ok"]
    tags = {"VERTICAL_DATUM": DATUM_NAMES[options.vertical]}
    valid: dict[str, int] = {}
    for layer in () if classes else CLASSIFIED:
        for path in (out_dir / f"{layer.name}.tif", side_file(out_dir / f"{layer.name}.tif")):
            path.unlink(missing_ok=True)
    for layer in (*MOSAICKED, *(CLASSIFIED if classes else ())):
        layer, bands = _stored_as(layer, filled)
        path = out_dir / f"{layer.name}.tif"
        with cog_canvas(path, grid, layer, crs=raster_wkt(crs), tags=tags, bands=bands) as canvas:
            for tile in filled:
                if layer in (UNCERTAINTY, *CLASSIFIED) and layer.in_tiles not in tile.products:
                    continue  # a matcher without an error estimate, or without classes here, leaves it empty
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
    ledger = {"revision": MOSAIC_REVISION, **scene_ledger(tiles, valid, grid, points)}
    write_json(out_dir / "ledger.json", ledger)
    return ledger


def pack_points(tile_ledgers: Sequence[str | Path], area: AreaOptions, options: ProductOptions, out_copc: str | Path) -> int:
    """The tiles' points as one COPC file, the form that viewers stream; their number."""
    from rsmvs.io import copc, pdal

    crs = product_crs(area.crs, options.vertical)
    filled = [t for t in map(read_tile, tile_ledgers) if t.status == "ok"]
    parts = [(Tile.from_name(t.tile, area.tile_size), _product(t, "points")) for t in filled]
    frame = {"bounds": scene_grid(area).bounds, "crs": crs, "lowered": _lowering(options, crs)}
    if options.copc == "pdal":
        return pdal.write_copc([path for _, path in parts], out_copc, **frame)
    return copc.write_copc(parts, out_copc, **frame)


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
    """The layer with the number type and the bands of the tiles: an ortho is as its images are, grey or colour.

    Where some tiles have grey images only, theirs go into all bands.
    """
    if layer is not ORTHO or not tiles:
        return layer, ()
    dtypes, bands = set(), set()
    for tile in tiles:
        with opened(_product(tile, layer.name)) as src:
            dtypes.add(src.dtypes[0])
            bands.add(band_names(src))
    dtype, names = np.result_type(*dtypes), max(bands, key=lambda names: (len(names), names))
    floats = np.issubdtype(dtype, np.floating)
    return dataclasses.replace(layer, dtype=dtype.name, nodata=NODATA if floats else 0.0), names if len(names) > 1 else ()


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
    from rsmvs.fusion.filling import filled
    from rsmvs.io.terrain import ground_under

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
