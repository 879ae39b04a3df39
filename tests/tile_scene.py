"""Tiles with known content, as the fusion of tiles leaves them, and the products of a scene of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsmvs.config import area_tiles, load_config
from rsmvs.geometry.grid import Grid, Tile
from rsmvs.geometry.vertical import product_crs
from rsmvs.io.manifests import write_json
from rsmvs.io.pointcloud import Points, write_points
from rsmvs.io.raster import NODATA, write_raster
from rsmvs.options import AreaOptions, Config, ProductOptions
from rsmvs.stages.products import mosaic_scene
from rsmvs.stages.views import index_views, select_views

CRS = "EPSG:32637"
AOI = (315012.0, 4162003.0, 315590.0, 4162497.5)
AREA = AreaOptions(crs=CRS, aoi=AOI, resolution=0.5, tile_size=200.0)


def planned_tile(scene: Path, folder: Path) -> tuple[Config, Path]:
    """Configuration of a simulated scene, and the plan of its first tile: made in `folder`, with the cameras as they are."""
    config = load_config(scene / "config.yaml")
    index_views(config.images, config.area, folder / "views.json")
    select_views(folder / "views.json", config.area, config.select, config.reference, folder / "plan.json")
    return config, min(folder.glob("tiles/*/plan.json"))


def height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (900 + 0.05 * (x - 315000) - 0.03 * (y - 4162000)).astype(np.float32)


def centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    x = grid.x0 + (np.arange(grid.width) + 0.5) * grid.step
    y = grid.y0 - (np.arange(grid.height) + 0.5) * grid.step
    return tuple(np.meshgrid(x, y))  # type: ignore[return-value]


def points_at(x: np.ndarray, y: np.ndarray, n: int = 500, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    return Points(
        np.stack([x, y, height(x, y)], 1).astype(np.float64),
        rng.choice([1, 2, 6], len(x)).astype(np.uint8),
        rng.integers(0, 4000, len(x)).astype(np.uint16),
        rng.integers(1, 6, len(x)).astype(np.uint8),
        rng.random(len(x), dtype=np.float32),
        rng.random(len(x), dtype=np.float32),
    )


def write_tile(folder: Path, tile: Tile, status: str = "ok", reason: str = "", notes: tuple[str, ...] = ()) -> Path:
    """The files of one tile as the fusion of a tile leaves them."""
    folder = folder / tile.name
    products = {}
    if status == "ok":
        grid = Grid.covering(tile.bounds, AREA.resolution)
        x, y = centres(grid)
        dsm = height(x, y)
        dsm[10:20, 30:40] = np.nan  # a hole
        views = np.where(np.isnan(dsm), 0, 3).astype(np.uint8)
        confidence = np.where(np.isnan(dsm), np.nan, 0.75).astype(np.float32)
        ortho = (x % 1000).astype(np.uint16)
        sigma, margin = (np.where(np.isnan(dsm), np.nan, v).astype(np.float32) for v in (0.3, 0.5))
        semantic = np.where(np.isnan(dsm), 0, np.where(x % 100 < 30, 6, 2)).astype(np.uint8)
        for name, values, nodata in (("dsm", dsm, NODATA), ("n_views", views, None), ("confidence", confidence, NODATA),
                                     ("ortho", ortho, 0), ("sigma", sigma, NODATA), ("semantic", semantic, 0),
                                     ("class_votes", views, 0), ("vote_margin", margin, NODATA)):  # fmt: skip
            write_raster(folder / f"{name}.tif", [values], grid=grid, crs=CRS, nodata=nodata)
            products[name] = f"{name}.tif"
        cloud = points_at(x[::20, ::20].ravel(), y[::20, ::20].ravel())
        write_points(folder / "points.laz", cloud, corner=tile.bounds[:2], crs=product_crs(CRS))
        products["points"] = "points.laz"
    content = {"tile": tile.name, "status": status, "reason": reason, "notes": list(notes), "products": products}
    write_json(folder / "ledger.json", content)
    return folder / "ledger.json"


def write_scene(folder: Path) -> Path:
    """Products of nine tiles in folder/products, one of them empty, one failed."""
    ledgers = []
    for i, tile in enumerate(area_tiles(AREA)):
        status, reason = {2: ("empty", "no two views see it"), 5: ("failed", "out of memory")}.get(i, ("ok", ""))
        notes = ("matched in smaller windows",) if i == 0 else ()
        ledgers.append(write_tile(folder / "tiles", tile, status, reason, notes))
    mosaic_scene(ledgers[::-1], AREA, ProductOptions(), folder / "products", classes=True)
    return folder
