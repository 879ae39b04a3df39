"""A simulated scene as files: images with cameras, truth rasters, and a configuration that is ready to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import DATUM_NAMES, ELLIPSOID
from rsmvs.io.manifests import atomic, write_json
from rsmvs.io.raster import NODATA, write_raster
from rsmvs.io.rpc_files import tags_from_rpc
from rsmvs.simulate.options import SimulateOptions
from rsmvs.simulate.render import Light, Rendering, light_of, orthoimage, render_view
from rsmvs.simulate.scene import Scene, simulate_scene
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


def _write_image(path: Path, rendering: Rendering) -> None:
    view = rendering.options
    tags = {
        "TIFFTAG_DATETIME": view.date.replace("-", ":", 2).replace("T", " ").rstrip("Z"),
        "SUN_AZIMUTH": repr(view.sun_azimuth),
        "SUN_ELEVATION": repr(view.sun_elevation),
    }
    names = ["pan"] if view.bands == "pan" else ["red", "green", "blue"]
    write_raster(path, list(rendering.bands), nodata=0, names=names, tags=tags, rpcs=tags_from_rpc(rendering.camera))  # type: ignore[arg-type]


def _write_truth(folder: Path, scene: Scene, grid: Grid, light: Light | None) -> None:
    codes = np.array(CLASS_CODES, np.uint8)
    place: dict[str, Any] = {"grid": grid, "crs": scene.crs}
    tags = {"VERTICAL_DATUM": DATUM_NAMES[ELLIPSOID]}
    for name, layer, what in (("dsm", scene.surface, "surface"), ("dtm", scene.terrain, "bare earth")):
        write_raster(folder / f"{name}.tif", [scene.truth(layer, grid)], nodata=NODATA, names=[what], units=["metre"],
                     tags=tags, **place)  # fmt: skip
    classes = codes[scene.truth(scene.classes, grid)]
    write_raster(folder / "classes.tif", [classes], nodata=0, names=["class, LAS code"], **place)
    if light is not None:
        write_raster(folder / "ortho.tif", list(orthoimage(scene, light, grid)), nodata=0, names=["pan"], **place)


def _record(options: SimulateOptions, scene: Scene, views: dict[str, Rendering]) -> dict[str, object]:
    """What only the simulator knows."""
    return {
        "seed": options.seed,
        "crs": scene.crs,
        "heights": list(scene.heights),
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
