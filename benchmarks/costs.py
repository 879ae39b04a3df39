"""What an area costs: tiles, core-hours, storage, by the model of `rsmvs.resources`, which is fitted to measured jobs.

    python -m benchmarks.costs [--gsd 0.5] [--tile 1000] [--model sgm]
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from rsmvs.config import config_from_dict
from rsmvs.resources import Size, need_of, size_of

AREAS = {"1 km2": 1.0, "city, 400 km2": 400.0, "country, 100 000 km2": 1e5}
TILE_STAGES = ("predict_heights", "filter_heights", "fuse_tile")
SCENE_STAGES = ("mosaic_scene", "pack_points", "derive_surfaces", "picture_scene", "catalogue_scene", "report_scene")
START = 3.0  # s of processor time until a job's stage begins: Python, Snakemake, imports
LAYER_MB = 15.0  # MB of a megapixel of a reference between the stages
TILE_MB, SCENE_MB = 15.0, 32.0  # MB of a million cells, in the tiles and in the products


def size(views: int, tile: float, gsd: float, model: str, tiles: float) -> Size:
    images = [{"path": f"{i}.tif"} for i in range(views)]
    area = {"crs": "EPSG:32631", "aoi": [0, 0, tile, tile], "tile_size": tile, "resolution": gsd}
    config = config_from_dict({"images": images, "area": area, "heights": {"model": model}}, "costs.yaml")
    one = size_of(config, 1, gsd)
    return replace(one, tiles=round(tiles), scene=one.scene * tiles)


def row(km2: float, views: int, tile: float, gsd: float, model: str) -> dict[str, float]:
    tiles = km2 * 1e6 / tile**2
    s = size(views, tile, gsd, model, tiles)
    per_tile = sum(need_of(stage, s).time + START for stage in TILE_STAGES)
    scene = sum(need_of(stage, s).time + START for stage in SCENE_STAGES)
    cells = km2 / gsd**2  # millions
    return {
        "tiles": tiles,
        "core_hours": (tiles * per_tile + scene) / 3600,
        "longest_job_minutes": max(need_of(stage, s).time for stage in (*TILE_STAGES, *SCENE_STAGES)) / 60,
        "between_gb": tiles * s.tile * s.references * LAYER_MB / 1e3,
        "kept_gb": cells * (TILE_MB + SCENE_MB) / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsd", type=float, default=0.5)
    parser.add_argument("--tile", type=float, default=1000.0)
    parser.add_argument("--model", default="sgm")
    args = parser.parse_args()
    print("| area | views of each place | tiles | core-hours | longest job, min | between stages, GB | kept, GB |")
    print("|---|---|---|---|---|---|---|")
    for name, km2 in AREAS.items():
        for views in (3, 6):
            r = row(km2, views, args.tile, args.gsd, args.model)
            print(f"| {name} | {views} | {r['tiles']:,.0f} | {r['core_hours']:,.3g} | {r['longest_job_minutes']:,.0f} "
                  f"| {r['between_gb']:,.3g} | {r['kept_gb']:,.3g} |")  # fmt: skip


if __name__ == "__main__":
    main()
