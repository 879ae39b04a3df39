"""Time and memory of what sees a whole area at once, on synthetic areas of 2500, 5000 and 10 000 tiles.

    python -m benchmarks.scale [--tiles 2500 5000 10000] [--keep FOLDER]

No pixels are computed: images are sparse files with cameras, tiles are small rasters that hold a constant. Every step runs
in a process of its own; its processor time, wall time and largest memory are printed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml

from rsmvs.config import area_tiles, load_config
from rsmvs.geometry.grid import Grid, Tile
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.vertical import product_crs
from rsmvs.geometry.viewing import footprint, viewing_angles
from rsmvs.io.manifests import write_json
from rsmvs.io.pointcloud import Points, write_points
from rsmvs.io.raster import NODATA, write_raster
from rsmvs.io.tiepoints import write_points as write_sparse
from rsmvs.io.views import write_views
from rsmvs.types import View

TILE, STEP = 500.0, 5.0  # m; the cells of the dummy tiles are coarse: their number is not what is measured here
WEST, SOUTH, CRS = 300000.0, 4600000.0, "EPSG:32631"
IMAGE = 40000  # px of 0.5 m
LOOKS = ((2.0, 100.0), (14.0, 12.0), (16.0, 190.0), (22.0, 280.0))  # incidence, azimuth (degrees) of the views of each block
POINTS_PER_VIEW = 5000


def camera(x: float, y: float, incidence: float, azimuth: float) -> RPC:
    """Of a view of 20 x 20 km around a place (m), linear in longitude, latitude and height."""
    from pyproj import Transformer

    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    half = IMAGE / 2 * 0.5
    scale_lon, scale_lat, scale_h = half / (111_320 * math.cos(math.radians(lat))), half / 111_320, 500.0
    lean = math.tan(math.radians(incidence)) * scale_h / half
    poly = np.zeros((4, 20))
    poly[0, [1, 3]] = 1.0, -lean * math.sin(math.radians(azimuth))
    poly[2, [2, 3]] = -1.0, lean * math.cos(math.radians(azimuth))
    poly[1, 0] = poly[3, 0] = 1.0
    middle = (IMAGE - 1) / 2
    return RPC(np.array([middle, middle, lon, lat, 300.0]), np.array([middle, middle, scale_lon, scale_lat, scale_h]), poly)


def area_of(folder: Path, tiles: int) -> Path:
    """A configuration of a square of so many tiles, with its sparse images."""
    side = round(math.sqrt(tiles)) * TILE
    blocks = math.ceil((side + 4000) / 18000)  # images overlap by 2 km
    images = []
    (folder / "images").mkdir(parents=True)
    for i in range(blocks * blocks):
        for k in range(len(LOOKS)):
            path = folder / "images" / f"b{i:03d}_{k}.tif"
            profile = {"width": IMAGE, "height": IMAGE, "count": 1, "dtype": "uint16", "tiled": True, "sparse_ok": True}
            with rasterio.open(path, "w", driver="GTiff", **profile):
                pass
            images.append({"path": str(path), "date": f"2026-06-{1 + k:02d}T10:30:00Z"})
    area = {"crs": CRS, "aoi": [WEST, SOUTH, WEST + side, SOUTH + side], "resolution": STEP, "tile_size": TILE}
    config = folder / "area.yaml"
    config.write_text(yaml.safe_dump({"images": images, "area": area, "output": str(folder / "run")}))
    write_records(folder, blocks, side, images)
    return config


def write_records(folder: Path, blocks: int, side: float, images: list[dict[str, str]]) -> None:
    """views.json as the index writes it, and the adjustment's files: cameras, sparse points, shared tie points."""
    views, pitch = [], side / blocks
    for n, image in enumerate(images):
        block, look = divmod(n, len(LOOKS))
        x, y = WEST + (block % blocks + 0.5) * pitch, SOUTH + (block // blocks + 0.5) * pitch
        model = camera(x, y, *LOOKS[look])
        angles = viewing_angles(model, IMAGE, IMAGE)
        views.append(View(
            id=Path(image["path"]).stem, path=image["path"], camera=model, camera_source="synthetic", width=IMAGE, height=IMAGE,
            nodata=None, weights=(1.0,), date=image["date"], sun=None, incidence=angles.incidence, azimuth=angles.azimuth,
            gsd=angles.gsd, footprint=footprint(model, IMAGE, IMAGE), fingerprint="",
        ))  # fmt: skip
    write_views(folder / "run" / "views.json", views)
    pairs = [[a.id, b.id, 1500] for i, a in enumerate(views) for b in views[i + 1 :] if a.id[:4] == b.id[:4]]
    report = {"views": {v.id: {"observations": POINTS_PER_VIEW, "batch": 0} for v in views}, "pairs": pairs}
    write_views(folder / "run" / "adjusted" / "views.json", views, adjustment=report)
    rng = np.random.default_rng(0)
    n = POINTS_PER_VIEW * len(views) // 2
    from pyproj import Transformer

    x, y = WEST + side * rng.random(n), SOUTH + side * rng.random(n)
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    one = np.ones(n)
    write_sparse(folder / "run" / "adjusted" / "points.npz", lon=lon, lat=lat, h=300 + 20 * np.sin(x / 3000), n_views=3 * one,
                 residual=0.1 * one, sigma_h=0.5 * one, batch=0 * one)  # fmt: skip


def write_tiles(config: Path) -> None:
    """Every tile as its fusion leaves it: rasters of a constant, 100 points."""
    settings = load_config(config)
    for tile in area_tiles(settings.area):
        write_tile(Path(settings.output) / "tiles" / tile.name, tile)


def write_tile(folder: Path, tile: Tile) -> None:
    grid = Grid.covering(tile.bounds, STEP)
    full = np.full(grid.shape, 300, np.float32)
    layers: dict[str, tuple[Any, float | None]] = {
        "dsm": (full, NODATA), "confidence": (full / 400, NODATA), "sigma": (full / 400, NODATA),
        "n_views": (full.astype(np.uint8), None), "ortho": (full.astype(np.uint16), 0),
    }  # fmt: skip
    for name, (values, nodata) in layers.items():
        write_raster(folder / f"{name}.tif", [values], grid=grid, crs=CRS, nodata=nodata)
    n = 100
    rng = np.random.default_rng(abs(tile.ix * 1000 + tile.iy))
    xmin, ymin, xmax, ymax = grid.bounds
    xyz = np.column_stack([rng.uniform(xmin, xmax, n), rng.uniform(ymin, ymax, n), np.full(n, 300.0)])
    points = Points(xyz, np.full(n, 2, np.uint8), np.zeros(n, np.uint16),
                    np.full(n, 3, np.uint8), np.ones(n, np.float32), np.ones(n, np.float32))  # fmt: skip
    write_points(folder / "points.laz", points, corner=tile.bounds[:2], crs=product_crs(CRS))
    products = {name: f"{name}.tif" for name in layers} | {"points": "points.laz"}
    write_json(folder / "ledger.json", {"tile": tile.name, "status": "ok", "reason": "", "notes": [], "products": products})


@dataclass(frozen=True)
class Cost:
    processor: float  # s
    wall: float  # s
    memory: float  # MB


def measured(words: list[str], out: Path) -> Cost:
    """What a command costs, its children included (memory: the largest process)."""
    began = time.monotonic()
    with out.open("wb") as said:
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(words)}: {out.read_text()[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024)


STAGES = {
    "plan": """
from rsmvs.stages.views import select_views
select_views("adjusted/views.json", config.area, config.select, config.reference, "plan.json")""",
    "mosaic, ledger": """
from rsmvs.stages.products import mosaic_scene
mosaic_scene([f"tiles/{t.name}/ledger.json" for t in area_tiles(config.area)], config.area, config.products, "products",
             classes=config.heights.classes)""",
    "COPC": """
from rsmvs.stages.products import pack_points
pack_points([f"tiles/{t.name}/ledger.json" for t in area_tiles(config.area)], config.area, config.products,
            "products/points.copc.laz")""",
    "surfaces": """
from rsmvs.stages.products import derive_surfaces
derive_surfaces("products/dsm.tif", config.products, "products")""",
    "catalogue, report": """
from rsmvs.stages.report import catalogue_scene, picture_scene, report_scene
from rsmvs.config import as_dict
from pathlib import Path
picture_scene("products/dsm.tif", "products/ortho.tif", "products/preview.png")
catalogue_scene([str(p) for p in sorted(Path("products").iterdir())], "adjusted/views.json", as_dict(config),
                "products/item.json", "products/manifest.json")
report_scene("products", "adjusted/views.json", "plan.json", None, None, "products/report.html")""",
}


def stage(name: str, config: Path) -> list[str]:
    code = f"""
import os
from rsmvs.config import area_tiles, load_config
config = load_config({str(config)!r})
os.chdir(config.output)
{STAGES[name]}"""
    return [sys.executable, "-c", code]


def costs_of(folder: Path, tiles: int) -> Iterator[tuple[str, Cost]]:
    """Each step with its cost, as they end."""
    config = area_of(folder, tiles)
    yield "parse, dry run", measured([sys.executable, "-m", "rsmvs.cli", "run", str(config), "-n"], folder / "dry.out")
    for name in STAGES:
        yield name, measured(stage(name, config), folder / f"{name.split(',')[0]}.out")
        if name == "plan":
            write_tiles(config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="+", default=[2500, 5041, 10000], help="square numbers")
    parser.add_argument("--keep", type=Path, help="folder for the areas (a temporary one)")
    args = parser.parse_args()
    table: dict[int, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="rsmvs-") as temporary:
        for tiles in args.tiles:
            for name, cost in costs_of((args.keep or Path(temporary)) / str(tiles), tiles):
                print(json.dumps({"tiles": tiles, "step": name, **vars(cost)}), flush=True)
                table.setdefault(tiles, []).append(f"{cost.processor:.0f} s, {cost.memory:.0f} MB")
    print("| tiles | parse, dry run | " + " | ".join(STAGES) + " |")
    for tiles, costs in table.items():
        print(f"| {tiles} | " + " | ".join(costs) + " |")


if __name__ == "__main__":
    main()
