"""True orthoimage: no doubled buildings, no seams, colours where a view has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from analytic_scene import field
from scipy.ndimage import gaussian_filter

from rsmvs.errors import ImageError
from rsmvs.fusion.ortho import BLEND, Look, orthoimage
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.ground import GridCamera
from rsmvs.geometry.warp import build_warp_field
from rsmvs.io.colour import full_scale
from rsmvs.io.raster import grid_of, opened, read_band, write_raster
from rsmvs.io.rpc_files import find_camera, tags_from_rpc
from rsmvs.options import ImageOptions
from rsmvs.simulate.options import ViewOptions, preset
from rsmvs.simulate.render import light_of, render_view
from rsmvs.simulate.render import orthoimage as exact_orthoimage
from rsmvs.simulate.scene import simulate_scene
from rsmvs.stages.tile import Layer
from rsmvs.stages.tile_ortho import Pictures, pictures_of
from rsmvs.stages.views import describe_image
from rsmvs.types import Window

RANGE = (80.0, 120.0)


def similarity(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    """Correlation and mean SSIM (Wang et al. 2004, Gaussian window of 1.5 cells) of two pictures over some cells."""
    span = float(np.ptp(np.percentile(b, (1, 99))))
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    ma, mb = gaussian_filter(a, 1.5), gaussian_filter(b, 1.5)
    va, vb = gaussian_filter(a * a, 1.5) - ma**2, gaussian_filter(b * b, 1.5) - mb**2
    both = gaussian_filter(a * b, 1.5) - ma * mb
    ssim = (2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return float(np.corrcoef(a[where], b[where])[0, 1]), float(ssim[where].mean())


def test_no_building_of_the_demo_town_stands_twice() -> None:
    """Where a building hides the ground from the steepest view, the picture shows the ground as the exact one does.

    A picture that does not ask what is hidden repeats the building there: its correlation with the exact one is what
    the bound of ours is set against.
    """
    demo = preset("demo")
    scene = simulate_scene(replace(demo.scene, extent=128.0, margin=48.0), demo.seed)
    angles = ((22.0, 95.0), (23.0, 272.0))
    light = light_of(scene, ViewOptions().sun_azimuth, ViewOptions().sun_elevation)
    grid = Grid.covering(scene.area, 0.5)
    cells = Window(0, 0, grid.width, grid.height)
    surface = scene.truth(scene.surface, grid)
    looks = []
    for k, (incidence, azimuth) in enumerate(angles):
        view = render_view(scene, ViewOptions(incidence=incidence, azimuth=azimuth), k, None, light, quick=True)
        there = build_warp_field(GridCamera(scene.crs, grid), view.camera.project, cells, scene.heights)
        looks.append(Look(view.bands[0].astype(np.float32), view.heights, there))
    exact = exact_orthoimage(scene, light, grid)[0].astype(np.float32)
    ours, naive = (orthoimage(surface, looks, hidden)[0] for hidden in (2.0, np.inf))
    hidden = _hidden(surface, looks[0])
    assert 0.02 < hidden.mean() < 0.3
    assert np.isfinite(ours).all()
    ncc, ssim = similarity(ours, exact, hidden)
    ncc_naive, ssim_naive = similarity(naive, exact, hidden)
    assert ncc_naive < 0.6 and ssim_naive < 0.6  # buildings stand twice
    assert ncc > 0.8 and ssim > 0.75, (ncc, ssim)
    assert similarity(ours, exact, ~hidden)[0] > 0.95


def _hidden(surface: np.ndarray, look: Look) -> np.ndarray:
    """Cells of which the image shows something that stands more than 2 m higher."""
    row, col = np.indices(surface.shape)
    u, v = look.field(col, row, surface)
    j, i = (np.clip(np.floor(x + 0.5).astype(int), 0, n - 1) for x, n in ((u, look.image.shape[1]), (v, look.image.shape[0])))
    return np.asarray(look.height[i, j] > surface + 2.0)


def test_one_image_fades_into_the_next() -> None:
    surface = np.full((40, 80), 100.0, np.float32)
    straight = field((0.0, 0.0), 80, RANGE)
    ramp = np.tile(np.linspace(100, 200, 80, dtype=np.float32), (40, 1))
    first = ramp.copy()
    first[:, 40:] = np.nan  # ends there
    second = ramp * np.float32(0.5) + np.where(np.arange(80) < 20, 40, 0).astype(np.float32)  # other light in part of it
    out = orthoimage(surface, [Look(first, surface, straight), Look(second, surface, straight)], 2.0)[0]
    inner = (slice(0, 39 - BLEND), slice(0, 38 - BLEND))  # the last pixels have no neighbour to interpolate with
    np.testing.assert_allclose(out[inner], first[inner], rtol=1e-6)
    steps = np.abs(np.diff(out[20, 25:60]))
    cut = np.where(np.isnan(first), second * np.nanmedian(first) / np.nanmedian(second[:, :40]), first)
    assert steps.max() < 0.5 * np.abs(np.diff(cut[20, 25:60])).max()  # what a seam without fading would be


def _with_heights(path: Path, colour: Path | None = None) -> Layer:
    """A layer of a whole image without heights: nothing is hidden."""
    view = describe_image(ImageOptions(path=str(path), colour=None if colour is None else str(colour)))
    heights = np.full((view.height, view.width), np.nan, np.float32)
    return Layer(view, Window(0, 0, view.width, view.height), {"height": heights})


@pytest.fixture(scope="module")
def coloured(tiny_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An 8-bit colour image of v00's acquisition: half of it, other pixels, the pan image in three tints."""
    path = tmp_path_factory.mktemp("colour") / "colour.tif"
    with opened(tiny_scene / "images" / "v00.tif") as src:
        camera, _ = find_camera(str(path.with_name("v00.tif")), src)
        pan = np.clip(src.read(1)[7:, 12 : src.width // 2] / 8, 1, 255)
    bands = [pan.astype(np.uint8), (pan / 2 + 20).astype(np.uint8), (pan / 4 + 5).astype(np.uint8)]
    write_raster(path, bands, nodata=0, names=("red", "green", "blue"), rpcs=tags_from_rpc(camera.shifted(12, 7)))
    return path


def _pictures(scene: Path, layers: list[Layer]) -> tuple[Pictures, np.ndarray]:
    surface, transform, crs = read_band(scene / "truth" / "dsm.tif")
    grid = grid_of(transform, surface.shape, "dsm.tif")
    span = (float(surface.min()) - 5, float(surface.max()) + 5)
    return pictures_of(layers, f"EPSG:{crs.to_epsg()}", span, grid), surface


def test_colours_come_from_the_colour_image_with_its_own_camera(tiny_scene: Path, coloured: Path) -> None:
    images = [tiny_scene / "images" / f"v0{k}.tif" for k in (0, 1)]
    grey, surface = _pictures(tiny_scene, [_with_heights(images[0])])
    assert grey.names == ("ortho",)
    pan = grey.ortho(surface, np.inf)[0].astype(np.float32) / 8
    both, _ = _pictures(tiny_scene, [_with_heights(images[1]), _with_heights(images[0], coloured)])
    assert both.names == ("red", "green", "blue")
    ortho = both.ortho(surface, np.inf)
    assert ortho.dtype == np.uint8 and ortho.shape == (3, *surface.shape)
    alone, _ = _pictures(tiny_scene, [_with_heights(images[0], coloured)])
    only = alone.ortho(surface, np.inf)
    shown = (only > 0).all(0) & (pan < 254)
    assert 0.3 < shown.mean() < 0.7  # half of the scene
    assert np.abs(only[0][shown] - pan[shown]).mean() < 1.0  # on the spot: a pixel beside it would be several off
    assert np.abs(only[1][shown] - (pan[shown] / 2 + 20)).mean() < 1.0
    assert (ortho > 0).all()  # the grey view fills the rest
    rest = ~shown & (pan < 254)
    assert abs(np.median(ortho[1][rest]) - np.median(pan[rest] / 2 + 20)) < 8  # in the brightness of each band

    row, col = (v.ravel() for v in np.nonzero(shown))
    x, y = both.grid.x0 + (col + 0.5) * both.grid.step, both.grid.y0 - (row + 0.5) * both.grid.step
    rgb = both.colours(np.stack([x, y, surface[row, col]], 1).astype(np.float64), 2.0)
    assert rgb is not None and rgb.dtype == np.uint16 and rgb.max() > 255 * 100  # 16 bits, as LAS wants them
    assert np.abs(rgb[:, 0] / 257 - pan[row, col]).mean() < 6  # the nearest pixel
    shades = grey.colours(np.stack([x, y, surface[row, col]], 1).astype(np.float64), 2.0)
    assert shades is not None and (shades == shades[:, :1]).all()  # of 11 bits: bright enough to be seen
    assert np.abs(shades[:, 0] / 65535 * 2047 / 8 - pan[row, col]).mean() < 6


def test_bit_depth_is_that_of_the_whole_image(tmp_path: Path) -> None:
    values = np.zeros((300, 400), np.uint16)
    values[250:] = 2000
    write_raster(tmp_path / "a.tif", [values])
    assert full_scale(tmp_path / "a.tif") == 2047
    write_raster(tmp_path / "b.tif", [values[:10, :10].astype(np.uint8)])
    assert full_scale(tmp_path / "b.tif") == 255
    write_raster(tmp_path / "c.tif", [values.astype(np.float32)])
    assert full_scale(tmp_path / "c.tif") is None
    profile = {"driver": "GTiff", "width": 400, "height": 300, "count": 1, "dtype": "uint16", "nbits": 12}
    with rasterio.open(tmp_path / "d.tif", "w", **profile) as dst:
        dst.write(values, 1)
    assert full_scale(tmp_path / "d.tif") == 4095


def test_a_colour_image_without_colours_is_named(tiny_scene: Path) -> None:
    path = tiny_scene / "images" / "v00.tif"
    layer = _with_heights(path, path)
    layer = replace(layer, view=replace(layer.view, colour=str(tiny_scene / "images" / "v01.tif")))
    with pytest.raises(ImageError, match=r"v01\.tif: has 1 bands; .*red, green and blue"):
        _pictures(tiny_scene, [layer])
