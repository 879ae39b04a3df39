"""New views of finished products, and samples of a run's plan: truth and image are of one scene, networks learn from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rsmvs.cli import main
from rsmvs.errors import ImageError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.warp import build_warp_field
from rsmvs.io.manifests import write_json
from rsmvs.io.raster import read_band, write_raster
from rsmvs.io.samples import SampleFiles
from rsmvs.io.views import read_views, view_to_dict
from rsmvs.network_options import CascadeOptions, DataOptions, TrainOptions
from rsmvs.options import AreaOptions, ImageOptions
from rsmvs.simulate.options import SceneOptions, preset
from rsmvs.simulate.products import baked_light, product_scene
from rsmvs.simulate.render import light_of, orthoimage, render_view
from rsmvs.simulate.samples import SampleOptions, SimulatedSamples
from rsmvs.simulate.scene import Scene, simulate_scene
from rsmvs.stages.prepare import prepare_plan
from rsmvs.stages.simulate import simulate
from rsmvs.stages.views import index_views
from rsmvs.training.datasets import Crops
from rsmvs.training.loop import Run
from rsmvs.training.tasks import CascadeTask
from rsmvs.types import Window


@pytest.fixture(scope="module")
def town() -> Scene:
    return simulate_scene(SceneOptions(extent=128.0, margin=48.0, style="old town"), 6)


@pytest.fixture(scope="module")
def products(town: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DSM and orthoimage as a run leaves them, with a hole in both."""
    folder = tmp_path_factory.mktemp("run") / "products"
    grid = Grid.covering(town.area, 0.5)
    dsm = town.truth(town.surface, grid).copy()
    ortho = orthoimage(town, light_of(town, 150.0, 50.0), grid)[0].copy()
    dsm[100:104, 60:66], ortho[100:104, 60:66] = np.nan, 0
    write_raster(folder / "dsm.tif", [dsm], grid=grid, crs=town.crs, nodata=-9999.0)
    write_raster(folder / "ortho.tif", [ortho], grid=grid, crs=town.crs, nodata=0)
    return folder.parent


def test_a_semi_real_scene_is_its_dsm_and_shows_its_orthoimage(products: Path, town: Scene) -> None:
    dsm, _, _ = read_band(products / "products" / "dsm.tif")
    ortho, _, _ = read_band(products / "products" / "ortho.tif")
    grid = Grid.covering(town.area, 0.5)
    scene = product_scene(town.crs, grid, dsm, np.where(ortho > 0, ortho, np.nan).astype(np.float32))
    assert np.nanmax(np.abs(scene.truth(scene.surface, grid) - dsm)) == 0.0
    again = orthoimage(scene, baked_light(scene), grid)[0]
    found, given = (cv2.blur(np.minimum(o, 1900).astype(np.float32), (5, 5)) for o in (again, ortho))
    right = np.corrcoef(found.ravel(), given.ravel())[0, 1]
    assert right > 0.97
    assert np.corrcoef(found[:, 4:].ravel(), given[:, :-4].ravel())[0, 1] < right - 0.05


def test_semi_real_views_agree_through_their_heights(products: Path, town: Scene) -> None:
    dsm, _, _ = read_band(products / "products" / "dsm.tif")
    ortho, _, _ = read_band(products / "products" / "ortho.tif")
    scene = product_scene(town.crs, Grid.covering(town.area, 0.5), dsm, ortho.astype(np.float32))
    a, b = (render_view(scene, v, k, (128, 128), baked_light(scene)) for k, v in enumerate(preset("demo").views[:2]))
    low, high = float(np.nanmin(a.heights)), float(np.nanmax(a.heights))
    row, col = np.indices(a.heights.shape)
    field = build_warp_field(a.camera, b.camera.project, Window(0, 0, 128, 128), (low, high))
    u, v = (c.astype(np.float32) for c in field(col, row, np.nan_to_num(a.heights, nan=low)))
    visible = np.abs(cv2.remap(b.heights, u, v, cv2.INTER_NEAREST, borderValue=np.nan) - a.heights) < 0.5
    image = cv2.remap(b.image.astype(np.float32), u, v, cv2.INTER_CUBIC)
    assert visible.mean() > 0.5
    assert np.corrcoef(a.image[visible], image[visible])[0, 1] > 0.95


def test_command_writes_scenes_and_samples_of_products(
    products: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--from-products", str(products), "-o", str(tmp_path / "scene")]) == 0
    assert {p.name for p in (tmp_path / "scene" / "images").iterdir()} == {f"v{k:02d}.tif" for k in range(4)}
    assert (tmp_path / "scene" / "config.yaml").is_file()
    more = ["--samples", "2", "--size", "64"]
    assert main(["simulate", "--from-products", str(products), "-o", str(tmp_path / "samples"), *more]) == 0
    samples = SampleFiles(tmp_path / "samples")
    assert len(samples) == 2 and samples[0].id == "products-0" and np.isfinite(samples[1].heights).mean() > 0.8
    assert main(["simulate", "--samples", "2", "-o", str(tmp_path / "none")]) == 1
    assert "--from-products" in capsys.readouterr().err


def test_products_that_do_not_fit_are_named(products: Path, tmp_path: Path) -> None:
    dsm, _, _ = read_band(products / "products" / "dsm.tif")
    write_raster(tmp_path / "dsm.tif", [dsm], grid=Grid(0, 0, 0.5, dsm.shape[1], dsm.shape[0]), crs="EPSG:32633")
    write_raster(tmp_path / "ortho.tif", [np.ones((4, 4), np.uint16)], grid=Grid(0, 0, 0.5, 4, 4), crs="EPSG:32633")
    from rsmvs.stages.simulate import read_products

    with pytest.raises(ImageError, match=r"ortho\.tif"):
        read_products(tmp_path)


def test_plan_of_a_run_becomes_samples_with_the_truth_of_the_reference(tmp_path: Path) -> None:
    simulate(preset("tiny", 3), tmp_path)
    images = tuple(ImageOptions(path=str(p)) for p in sorted((tmp_path / "images").glob("*.tif")))
    dsm, transform, crs = read_band(tmp_path / "truth" / "dsm.tif")
    bounds = (transform.c, transform.f - 64.0, transform.c + 64.0, transform.f)
    area = AreaOptions(crs=crs.to_string(), aoi=bounds, resolution=0.5, tile_size=64.0, halo=4.0)
    index_views(images, area, tmp_path / "views.json")
    views = read_views(tmp_path / "views.json")
    plan = {"tile": "x0_y0", "bounds": bounds, "status": "ok", "reason": "",
            "height_range": [float(dsm.min()) - 5, float(dsm.max()) + 5],
            "sets": [{"reference": "v00", "sources": ["v01", "v02"], "score": 1.0, "why": ""}],
            "views": [view_to_dict(v) for v in views]}  # fmt: skip
    write_json(tmp_path / "run" / "tiles" / "x0_y0" / "plan.json", plan)
    truth = tmp_path / "truth"
    assert prepare_plan(tmp_path / "run", area, truth / "dsm.tif", truth / "classes.tif", tmp_path / "samples") == 1
    sample = SampleFiles(tmp_path / "samples")[0]
    assert sample.id == "x0_y0_v00" and len(sample.warps) == 2 and sample.classes is not None
    known = np.isfinite(sample.heights)
    assert known.mean() > 0.5 and set(np.unique(sample.classes[known])) <= {0, 1, 2, 3, 4}
    row, col = np.indices(sample.heights.shape)
    u, v = (c.astype(np.float32) for c in sample.warps[0](col, row, np.nan_to_num(sample.heights, nan=float(dsm.min()))))
    image = cv2.remap(sample.images[1], u, v, cv2.INTER_LINEAR, borderValue=np.nan)
    flat = known & (sample.classes == 0) & np.isfinite(image)
    assert np.corrcoef(sample.images[0][flat], image[flat])[0, 1] > 0.8


def test_simulated_samples_feed_a_training_step() -> None:
    options = CascadeOptions(feature_channels=(4, 4, 6), regularizer_widths=(4, 4, 4), levels=1, hypotheses=(8, 4, 4))
    samples = SimulatedSamples(2, 50, SampleOptions(width=96, height=96))
    crops = Crops(samples, DataOptions(crop=32, crops_per_sample=1, rdm="none"))
    run = Run(CascadeTask(options, (0.5, 1.0, 2.0)), TrainOptions(steps=1))
    assert np.isfinite(run.advance([run.task.collate([crops[0], crops[1]])]))
