"""The simulator: its cameras, its truth, and that image and truth are of one scene."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rsmvs.config import load_config, tiles
from rsmvs.errors import ConfigError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.heightfield import block_maxima, first_hit
from rsmvs.geometry.pinhole import Pinhole
from rsmvs.geometry.viewing import viewing_angles
from rsmvs.geometry.warp import build_warp_field
from rsmvs.io.manifests import read_json
from rsmvs.io.raster import opened, read_band
from rsmvs.io.rpc_files import find_camera
from rsmvs.simulate.canvas import BUILDING, WATER
from rsmvs.simulate.options import SceneOptions, ViewOptions, preset, with_biases
from rsmvs.simulate.raycast import shadow_heights
from rsmvs.simulate.render import Rendering, render_view
from rsmvs.simulate.samples import SampleOptions, SimulatedSamples, ViewSet, sample_of, training_sample
from rsmvs.simulate.scene import Scene, simulate_scene
from rsmvs.simulate.sensor import MAX_RESIDUAL_PX, pushbroom, vendor_rpc
from rsmvs.simulate.styles import STYLES
from rsmvs.stages.simulate import simulate
from rsmvs.types import CLASS_CODES, Window

SIZE = (200, 180)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene(SceneOptions(extent=96.0, margin=48.0), 3)


@pytest.fixture(scope="module")
def pair(scene: Scene) -> tuple[Rendering, Rendering]:
    a = render_view(scene, ViewOptions(incidence=8.0, azimuth=100.0), 1, SIZE)
    return a, render_view(scene, ViewOptions(incidence=15.0, azimuth=280.0), 2, SIZE)


@pytest.mark.parametrize("incidence, azimuth, lat", [(0.0, 0.0, 0.5), (20.0, 200.0, -33.0), (35.0, 80.0, 59.0)])
def test_pushbroom_sees_its_target_as_asked(incidence: float, azimuth: float, lat: float) -> None:
    options = ViewOptions(incidence=incidence, azimuth=azimuth, gsd=0.7)
    exact = pushbroom((-71.0, lat, 420.0), (1000, 800), options)
    lon_c, lat_c = exact.localise(499.5, 399.5, 420.0)
    assert (float(lon_c), float(lat_c)) == pytest.approx((-71.0, lat), abs=1e-10)
    rpc, worst = vendor_rpc(exact, (1000, 800), (300.0, 600.0))
    assert worst < MAX_RESIDUAL_PX
    found = viewing_angles(rpc, 1000, 800, 420.0)
    assert found.incidence == pytest.approx(incidence, abs=1e-3)
    assert found.gsd == pytest.approx(0.7, rel=1e-4)
    if incidence:
        assert found.azimuth == pytest.approx(azimuth, abs=1e-2)


def test_rays_meet_a_plane_and_a_box_where_algebra_says() -> None:
    i, j = np.mgrid[:64, :64]
    plane = np.asarray(5.0 + 0.1 * j - 0.05 * i, np.float32)
    t = first_hit(plane, *block_maxima(plane), 10.0, 40.0, 30.0, 50.0, 20.0, -10.0, 0.0)
    x, y, z = 10 + 40 * t, 40 - 20 * t, 30 - 40 * t
    assert z == pytest.approx(5.0 + 0.1 * x - 0.05 * y, abs=0.01)
    box = np.zeros((64, 64), np.float32)
    box[20:40, 20:40] = 10.0
    down = first_hit(box, *block_maxima(box), 30.0, 30.0, 20.0, 30.0, 30.0, -1.0, 0.0)
    assert 20 - 21 * down == pytest.approx(10.0, abs=0.01)
    behind = first_hit(box, *block_maxima(box), 5.0, 30.0, 12.0, 65.0, 30.0, -3.0, 0.0)  # falls a metre every four cells
    assert 12 - 15 * behind == pytest.approx(12 - (19 - 5) / 4, abs=0.3)  # stopped by the wall between columns 19 and 20


def test_shadow_of_a_box_is_as_long_as_the_sun_says() -> None:
    box = np.zeros((80, 120), np.float32)
    box[30:50, 20:30] = 12.0
    shadow = shadow_heights(box, -1.0, 0.0, 0.5)  # sun in the west: half a metre a cell, so 24 cells of shadow
    row = shadow[40, 30:]
    assert int((row > 0).sum()) == pytest.approx(24, abs=1)
    assert (shadow[40, :20] <= 0).all()


def test_rpc_agrees_with_the_exact_camera(pair: tuple[Rendering, Rendering]) -> None:
    for view in pair:
        assert view.camera_error < MAX_RESIDUAL_PX
        lon, lat = view.exact.localise(np.array([0.0, 150.0]), np.array([10.0, 170.0]), float(np.nanmean(view.heights)))
        col, row = view.camera.project(lon, lat, float(np.nanmean(view.heights)))
        assert np.abs(col - [0, 150]).max() < MAX_RESIDUAL_PX and np.abs(row - [10, 170]).max() < MAX_RESIDUAL_PX


def test_heights_of_a_view_lie_on_the_surface(scene: Scene, pair: tuple[Rendering, Rendering]) -> None:
    """Each pixel's ground point, through the delivered RPC, has the surface's own height, within 0.02 px of position."""
    for view in pair:
        row, col = np.indices(view.heights.shape)
        good = np.isfinite(view.heights)
        assert good.mean() > 0.98
        lon, lat = view.camera.localise(col, row, view.heights)
        x, y = scene.to_map(lon, lat, 0.0)
        u = (x - scene.grid.x0) / scene.grid.step - 0.5
        v = (scene.grid.y0 - y) / scene.grid.step - 0.5
        surface = cv2.remap(scene.surface, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR)
        gap = np.abs(surface - view.heights)[good]
        assert np.median(gap) < 0.01
        assert (gap < 0.15).mean() > 0.9  # elsewhere faces are steep: metres of height a centimetre of position


def test_classes_of_a_view_are_those_of_the_ground(scene: Scene, pair: tuple[Rendering, Rendering]) -> None:
    for view in pair:
        row, col = np.indices(view.heights.shape)
        x, y = scene.to_map(*view.camera.localise(col, row, np.nan_to_num(view.heights, nan=0.0)), 0.0)
        i = np.clip(np.rint((scene.grid.y0 - y) / scene.grid.step - 0.5), 0, scene.grid.height - 1).astype(int)
        j = np.clip(np.rint((x - scene.grid.x0) / scene.grid.step - 0.5), 0, scene.grid.width - 1).astype(int)
        steep = cv2.dilate(scene.surface, np.ones((3, 3))) - cv2.erode(scene.surface, np.ones((3, 3))) > 1.0
        good = (view.classes >= 0) & ~steep[i, j]
        assert good.mean() > 0.5
        assert (scene.classes[i, j] == view.classes)[good].mean() > 0.99
        assert (view.classes == BUILDING).any()


def test_views_show_the_same_scene(pair: tuple[Rendering, Rendering]) -> None:
    """One view warped into the other through the exact heights correlates where both see the point."""
    a, b = pair
    heights = (float(np.nanmin(a.heights)), float(np.nanmax(a.heights)))
    field = build_warp_field(a.camera, b.camera.project, Window(0, 0, *SIZE), heights)
    row, col = np.indices(a.heights.shape)
    u, v = (c.astype(np.float32) for c in field(col, row, np.nan_to_num(a.heights, nan=heights[0])))
    seen = cv2.remap(b.heights, u, v, cv2.INTER_NEAREST, borderValue=np.nan)
    image = cv2.remap(b.image.astype(np.float32), u, v, cv2.INTER_CUBIC)
    visible = np.abs(seen - a.heights) < 0.5
    assert visible.mean() > 0.6
    assert np.corrcoef(a.image[visible], image[visible])[0, 1] > 0.95
    wrong = cv2.remap(b.image.astype(np.float32), u + 3, v, cv2.INTER_CUBIC)
    assert np.corrcoef(a.image[visible], wrong[visible])[0, 1] < 0.85


def test_truth_on_the_ground_is_the_surface_itself(scene: Scene) -> None:
    grid = Grid.covering(scene.area, 0.5)
    dsm, dtm = scene.truth(scene.surface, grid), scene.truth(scene.terrain, grid)
    assert dsm.shape == grid.shape
    assert (dsm >= dtm - 1e-3).all()
    built = scene.truth(scene.classes, grid) == BUILDING
    assert (dsm - dtm)[built].min() > 1.5
    col = (grid.x0 + 0.25 - scene.grid.x0) / scene.grid.step - 0.5  # the first cell's centre falls on a node
    assert col == pytest.approx(round(col), abs=1e-6)
    assert dsm[0, 0] == scene.surface[round((scene.grid.y0 - grid.y0 + 0.25) / scene.grid.step - 0.5), round(col)]


def test_same_seed_same_bytes_and_a_config_that_loads(tmp_path: Path) -> None:
    configs = [simulate(preset("tiny", seed=5), tmp_path / name) for name in ("a", "b")]
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert {str(f) for f in files} >= {"config.yaml", "images/v02.tif", "truth/dsm.tif", "truth/classes.tif"}
    assert not [f for f in files if f.name.startswith(".")]
    for f in files:
        assert (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes(), f
    other = simulate(preset("tiny", seed=6), tmp_path / "c")
    assert (other.parent / "truth/dsm.tif").read_bytes() != (configs[0].parent / "truth/dsm.tif").read_bytes()
    config = load_config(configs[0])
    assert len(tiles(config)) == 4 and len(config.images) == 3
    with opened(config.images[0].path) as dataset:
        camera, _ = find_camera(config.images[0].path, dataset)
        assert dataset.dtypes == ("uint16",) and dataset.nodata == 0
    classes, transform, crs = read_band(tmp_path / "a/truth/classes.tif")
    assert set(np.unique(classes)) <= set(CLASS_CODES)
    assert (transform.c, transform.f) == (config.area.aoi[0], config.area.aoi[3])
    assert crs is not None and camera.kind == "rpc"


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="demo, tiny"):
        preset("huge")


@pytest.fixture(scope="module")
def view_set() -> ViewSet:
    return training_sample(11, SampleOptions(width=160, height=128, other_date=0.0, clouds=0.0, style="town", bias=2.0))


def test_training_sample_is_a_function_of_its_seed(view_set: ViewSet) -> None:
    again = training_sample(11, SampleOptions(width=160, height=128, other_date=0.0, clouds=0.0, style="town", bias=2.0))
    for a, b in zip(view_set.views, again.views, strict=True):
        assert np.array_equal(a.bands, b.bands) and np.array_equal(a.heights, b.heights, equal_nan=True)
    other = training_sample(12, SampleOptions(width=160, height=128, style="town"))
    assert not np.array_equal(view_set.views[0].bands, other.views[0].bands)


def test_warp_of_a_sample_leads_to_the_same_ground_and_its_bias_is_the_injected_one(view_set: ViewSet) -> None:
    sample = sample_of(view_set, 0.5)
    assert len(sample.images) == 3 and len(sample.warps) == 2
    assert sample.heights.shape == (128, 160) and sample.classes is not None
    low, high = sample.height_range
    assert low < np.nanmin(sample.heights) and high > np.nanmax(sample.heights)
    row, col = np.indices(sample.heights.shape)
    h = np.nan_to_num(sample.heights, nan=low)
    lon, lat = view_set.views[0].exact.localise(col, row, h)
    for warp, view, bias in zip(sample.warps, view_set.views[1:], view_set.biases[1:], strict=True):
        u, v = view.camera.project(lon, lat, h)
        p, q = warp(col, row, h)
        assert np.abs(p - bias[0] - u).max() < 0.05 and np.abs(q - bias[1] - v).max() < 0.05
        assert np.hypot(*bias) > 0.1


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_style_yields_a_finite_scene_of_the_known_classes(style: str) -> None:
    scene = simulate_scene(SceneOptions(extent=160.0, margin=20.0, step=0.5, resolution=1.0, style=style), 2)
    assert np.isfinite(scene.surface).all() and (scene.surface >= scene.terrain - 1e-3).all()
    assert set(np.unique(scene.classes)) <= {0, 1, 2, 3, 4}
    assert scene.albedo.min() > 0.0 and scene.albedo.std() > 0.02


def test_aerial_block_agrees_with_its_pinhole_cameras() -> None:
    options = SampleOptions(width=128, height=128, camera="aerial", gsd_min=0.2, gsd_max=0.2, style="suburb", views=3)
    views = training_sample(5, options)
    assert all(isinstance(v.camera, Pinhole) for v in views.views)
    reference = views.views[0]
    sample = sample_of(views, 0.2)
    row, col = np.indices(sample.heights.shape)
    u, v = (c.astype(np.float32) for c in sample.warps[0](col, row, np.nan_to_num(sample.heights, nan=sample.height_range[0])))
    seen = cv2.remap(views.views[1].heights, u, v, cv2.INTER_NEAREST, borderValue=np.nan)
    visible = np.abs(seen - sample.heights) < 0.2
    assert visible.mean() > 0.4
    image = cv2.remap(views.views[1].image.astype(np.float32), u, v, cv2.INTER_CUBIC)
    assert np.corrcoef(reference.image[visible], image[visible])[0, 1] > 0.95
    assert viewing_angles(reference.camera, 128, 128, float(np.nanmedian(sample.heights))).gsd == pytest.approx(0.2, rel=0.03)


def test_clouds_hide_the_truth_and_haze_lowers_the_contrast(scene: Scene) -> None:
    clear = render_view(scene, ViewOptions(cars=0.0), 1, SIZE)
    hazy = render_view(scene, ViewOptions(cars=0.0, haze=0.4), 1, SIZE)
    cloudy = render_view(scene, ViewOptions(cars=0.0, clouds=0.3), 1, SIZE)
    assert hazy.image.std() < 0.8 * clear.image.std() and hazy.image.min() > clear.image.min()
    assert cloudy.clouded is not None and 0.1 < cloudy.clouded.mean() < 0.7
    assert np.array_equal(cloudy.heights, clear.heights, equal_nan=True)
    dark = clear.image < np.median(clear.image)
    assert cloudy.image[cloudy.clouded & dark].mean() > 1.2 * clear.image[cloudy.clouded & dark].mean()


def test_water_offers_nothing_to_match() -> None:
    scene = simulate_scene(SceneOptions(extent=128.0, margin=48.0, style="waterfront"), 4)
    a, b = (render_view(scene, ViewOptions(incidence=i, azimuth=z, glint=1.5), i, SIZE) for i, z in ((6, 90.0), (14, 270.0)))
    water = a.classes == WATER
    assert water.mean() > 0.05
    level = float(np.median(a.heights[water]))
    assert np.percentile(np.abs(a.heights[water] - level), 98) < 0.05  # the rest are pixels of the shore
    field = build_warp_field(a.camera, b.camera.project, Window(0, 0, *SIZE), (level - 5, level + 5))
    row, col = np.indices(a.heights.shape)
    u, v = (c.astype(np.float32) for c in field(col, row, level))
    both = water & (cv2.remap((b.classes == WATER).astype(np.uint8), u, v, cv2.INTER_NEAREST) > 0)
    image = cv2.remap(b.image.astype(np.float32), u, v, cv2.INTER_CUBIC)
    assert np.corrcoef(a.image[both], image[both])[0, 1] < 0.6


def test_unknown_style_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="suburb"):
        simulate_scene(SceneOptions(extent=32.0, margin=8.0, style="atlantis"), 0)


def test_dataset_yields_samples_by_number() -> None:
    data = SimulatedSamples(2, 7, SampleOptions(width=64, height=64, views=2))
    assert len(data) == 2 and data[1].id == "simulated-8"
    with pytest.raises(IndexError):
        data[2]


def test_injected_camera_errors_stand_in_the_tags_and_in_the_truth(tmp_path: Path) -> None:
    options = with_biases(preset("tiny", seed=5), 3.0)
    simulate(preset("tiny", seed=5), tmp_path / "exact")
    simulate(options, tmp_path / "biased")
    told = read_json(tmp_path / "biased" / "truth.json")["bias_px"]
    for name, (col, row) in told.items():
        cameras, pixels = [], []
        for folder in ("exact", "biased"):
            with opened(tmp_path / folder / "images" / f"{name}.tif") as dataset:
                cameras.append(find_camera(str(tmp_path / folder / "images" / f"{name}.tif"), dataset)[0])
                pixels.append(dataset.read(1))
        assert np.array_equal(*pixels) and abs(col) + abs(row) > 0.01
        lon, lat = cameras[0].localise(50.0, 60.0, np.mean(cameras[0].height_range))
        u, v = cameras[1].project(lon, lat, np.mean(cameras[0].height_range))
        assert (float(u) - 50.0, float(v) - 60.0) == pytest.approx((col, row), abs=1e-6)
