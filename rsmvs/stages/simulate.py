"""A simulated scene as files: images with cameras, truth rasters, and a configuration that is ready to run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import yaml

from rsmvs.errors import ImageError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import DATUM_NAMES, ELLIPSOID
from rsmvs.io.manifests import atomic, write_json
from rsmvs.io.raster import NODATA, grid_of, read_band, write_raster
from rsmvs.io.rpc_files import tags_from_rpc
from rsmvs.io.samples import write_sample
from rsmvs.simulate.options import SceneOptions, SimulateOptions, ViewOptions, preset
from rsmvs.simulate.products import baked_light, product_sample, product_scene
from rsmvs.simulate.render import Light, Rendering, light_of, orthoimage, render_view
from rsmvs.simulate.samples import SampleOptions, sample_of
from rsmvs.simulate.scene import Scene, simulate_scene
from rsmvs.training.readers import class_index
from rsmvs.types import CLASS_CODES


def simulate(options: SimulateOptions, out: str | Path) -> Path:
    """Write OUT/images/*.tif, OUT/truth/{dsm,dtm,classes,ortho}.tif, OUT/truth.json and OUT/config.yaml; returns the latter."""
    out = Path(out)
    scene = simulate_scene(options.scene, options.seed)
    lights: dict[tuple[float, float], Light] = {}
    views: dict[str, Rendering] = {}
    for k, view in enumerate(options.views):
        sun = (view.sun_azimuth, view.sun_elevation)
        lights[sun] = lights.get(sun) or light_of(scene, *sun)
        views[f"v{k:02d}"] = rendering = render_view(scene, view, options.seed * 1000 + k, light=lights[sun])
        _write_image(out / "images" / f"v{k:02d}.tif", rendering)
    grid = Grid.covering(scene.area, options.scene.resolution)
    _write_truth(out / "truth", scene, grid, next(iter(lights.values()), None))
    write_json(out / "truth.json", _record(options, scene, views))
    return _write_config(out / "config.yaml", options, scene, views)


def simulate_from_products(run: str | Path, out: str | Path, seed: int = 0, views: tuple[ViewOptions, ...] = ()) -> Path:
    """New views of the surface and orthoimage of a finished run: files as `simulate` writes them."""
    scene, grid = read_products(run)
    views = views or tuple(replace(v, gsd=grid.step) for v in preset("demo").views)
    light = baked_light(scene)
    rendered = {f"v{k:02d}": render_view(scene, v, seed * 1000 + k, light=light) for k, v in enumerate(views)}
    for name, rendering in rendered.items():
        _write_image(Path(out) / "images" / f"{name}.tif", rendering)
    inner = Grid.covering(scene.area, grid.step)
    _write_truth(Path(out) / "truth", scene, inner, light)
    tile = max(round((scene.area[2] - scene.area[0]) / 4 / grid.step) * grid.step, 16.0)
    options = SimulateOptions(seed, SceneOptions(resolution=grid.step), views, tile)
    write_json(Path(out) / "truth.json", _record(options, scene, rendered))
    return _write_config(Path(out) / "config.yaml", options, replace(scene, area=inner.bounds), rendered)


def product_samples(run: str | Path, out: str | Path, count: int, options: SampleOptions, seed: int = 0) -> int:
    """`count` training samples of the products of a run, one file each."""
    scene, _ = read_products(run)
    for k in range(seed, seed + count):
        write_sample(Path(out) / f"products{k:08d}.npz", sample_of(product_sample(scene, k, options), options.slack))
    return count


def read_products(run: str | Path) -> tuple[Scene, Grid]:
    """The semi-real scene of a run's products, and their grid."""
    folder = Path(run) / "products" if (Path(run) / "products").is_dir() else Path(run)
    dsm, transform, crs = read_band(folder / "dsm.tif")
    ortho, at, _ = read_band(folder / "ortho.tif")
    grid = grid_of(transform, dsm.shape, folder / "dsm.tif")
    if ortho.shape != dsm.shape or not at.almost_equals(transform, 1e-6):
        raise ImageError(folder / "ortho.tif", "is not on the grid of dsm.tif", "give the products of one run")
    if crs is None:
        raise ImageError(folder / "dsm.tif", "has no CRS", "give the products of a run")
    look = np.where(ortho > 0, ortho, np.nan).astype(np.float32)
    classes = class_index(read_band(folder / "semantic.tif")[0], CLASS_CODES) if (folder / "semantic.tif").is_file() else None
    terrain = read_band(folder / "dtm.tif")[0] if (folder / "dtm.tif").is_file() else None
    plane = pyproj.CRS.from_wkt(crs.to_wkt()).to_2d()
    plane = plane.sub_crs_list[0] if plane.is_compound else plane
    return product_scene(plane.to_string(), grid, np.asarray(dsm, np.float32), look, classes, terrain), grid


def _write_image(path: Path, rendering: Rendering) -> None:
    view = rendering.options
    tags = {
        "TIFFTAG_DATETIME": view.date.replace("-", ":", 2).replace("T", " ").rstrip("Z"),
        "SUN_AZIMUTH": repr(view.sun_azimuth),
        "SUN_ELEVATION": repr(view.sun_elevation),
    }
    names = ["pan"] if view.bands == "pan" else ["red", "green", "blue"]
    delivered = rendering.camera.shifted(-view.bias_col, -view.bias_row)
    write_raster(path, list(rendering.bands), nodata=0, names=names, tags=tags, rpcs=tags_from_rpc(delivered))  # type: ignore[arg-type]


def _write_truth(folder: Path, scene: Scene, grid: Grid, light: Light | None) -> None:
    codes = np.array(CLASS_CODES, np.uint8)
    place: dict[str, Any] = {"grid": grid, "crs": scene.crs}
    tags = {"VERTICAL_DATUM": DATUM_NAMES[ELLIPSOID]}
    for name, layer, what in (("dsm", scene.surface, "surface"), ("dtm", scene.terrain, "bare earth")):
        write_raster(folder / f"{name}.tif", [scene.truth(layer, grid)], nodata=NODATA, names=[what], units=["metre"],
                     tags=tags, **place)  # fmt: skip
    labels = scene.truth(scene.classes, grid)
    classes = np.where(labels < 0, 0, codes[labels]).astype(np.uint8)
    write_raster(folder / "classes.tif", [classes], nodata=0, names=["class, LAS code"], **place)
    if light is not None:
        write_raster(folder / "ortho.tif", list(orthoimage(scene, light, grid)), nodata=0, names=["pan"], **place)


def _record(options: SimulateOptions, scene: Scene, views: dict[str, Rendering]) -> dict[str, object]:
    """What only the simulator knows."""
    return {
        "seed": options.seed,
        "crs": scene.crs,
        "heights": list(scene.heights),
        "bias_px": {name: [v.options.bias_col, v.options.bias_row] for name, v in views.items()},
        "rpc_error_px": {name: round(v.camera_error, 6) for name, v in views.items()},
    }


def _write_config(path: Path, options: SimulateOptions, scene: Scene, views: dict[str, Rendering]) -> Path:
    config = {
        "images": [{"path": f"images/{name}.tif", "date": v.options.date} for name, v in views.items()],
        "area": {
            "crs": scene.crs,
            "aoi": list(scene.area),
            "resolution": options.scene.resolution,
            "tile_size": options.tile_size,
            "halo": 24.0,
        },
        "output": "run",
        "reference": {"dsm": "truth/dsm.tif", "classes": "truth/classes.tif"},
    }
    text = f"# Written by 'rsmvs simulate', seed {options.seed}: a procedural scene with exact truth.\n"
    with atomic(path) as part:
        part.write_text(text + yaml.safe_dump(config, sort_keys=False))
    return path
