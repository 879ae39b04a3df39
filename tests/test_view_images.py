"""What becomes of an image's bands, nodata and masks; the record of a view with its companions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from test_cameras import make_rpc

from rsmvs.config import config_from_dict
from rsmvs.errors import ConfigError, ImageError
from rsmvs.io.image_checks import band_weights
from rsmvs.io.raster import opened, read_image, usable_at
from rsmvs.io.rpc_text import write_rpc_txt
from rsmvs.io.views import read_views, write_views
from rsmvs.options import ImageOptions
from rsmvs.stages.views import describe_image
from rsmvs.types import View, Window

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
W, H = 60, 40


def write(path: Path, bands: np.ndarray, colours=(), nodata=None) -> str:
    count, height, width = bands.shape
    profile = {"width": width, "height": height, "count": count, "dtype": bands.dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", **profile) as dst:
        dst.write(bands)
        if colours:
            dst.colorinterp = [ColorInterp[c] for c in colours]
    return str(path)


@pytest.fixture
def bands() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 4000, (4, H, W)).astype(np.uint16)


def view_of(path: str, **more) -> View:
    write_rpc_txt(Path(path).with_name(Path(path).stem + "_RPC.TXT"), make_rpc(1))
    return describe_image(ImageOptions(path=path, **more))


def test_pan_is_itself(tmp_path, bands):
    view = view_of(write(tmp_path / "a.tif", bands[:1]))
    assert view.weights == (1.0,)
    assert np.array_equal(read_image(view, Window(3, 5, 20, 10)), bands[0, 5:15, 3:23].astype(np.float32))


def test_colour_is_luminance_without_alpha(tmp_path, bands):
    view = view_of(write(tmp_path / "a.tif", bands, ("red", "green", "blue", "alpha")))
    expected = 0.299 * bands[0] + 0.587 * bands[1] + 0.114 * bands[2]
    assert np.allclose(read_image(view, Window(0, 0, W, H)), expected, rtol=1e-5)


def test_unknown_bands_are_averaged_and_said_so(tmp_path, bands):
    path = write(tmp_path / "a.tif", bands, ("gray", "undefined", "undefined", "undefined"))
    with opened(path) as src:
        weights, recipe = band_weights(path, src)
    assert weights == (0.25,) * 4 and "mean of 4 bands" in recipe and "weights" in recipe


def test_configured_weights_are_normalised(tmp_path, bands):
    view = view_of(write(tmp_path / "a.tif", bands), weights=(0.0, 3.0, 1.0, 0.0))
    assert view.weights == (0.0, 0.75, 0.25, 0.0)
    assert np.allclose(read_image(view, Window(0, 0, W, H)), 0.75 * bands[1] + 0.25 * bands[2], rtol=1e-5)


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 0.0, 0.0, 0.0), (1.0,) * 5])
def test_weights_that_do_not_fit_are_refused(tmp_path, bands, weights):
    with pytest.raises(ImageError, match=r"4 bands.*weight"):
        view_of(write(tmp_path / "a.tif", bands), weights=weights)


def test_negative_weights_are_refused():
    image = {"path": "a.tif", "weights": [-1.0]}
    with pytest.raises(ConfigError, match=r"weights\[0\]"):
        config_from_dict({"images": [image], "area": {"crs": "EPSG:32637"}}, "c.yaml")


@pytest.mark.parametrize("scale", [1, 4])
def test_masks_are_honoured_at_any_resolution(tmp_path, bands, scale):
    mask = np.zeros((1, H // scale, W // scale), np.uint8)
    mask[0, 12 // scale : 20 // scale, 8 // scale : 28 // scale] = 3
    cloud = write(tmp_path / "cloud.tif", mask)
    view = view_of(write(tmp_path / "a.tif", bands[:1]), masks=(cloud,))
    image = read_image(view, Window(-2, 4, 50, 30))
    hidden = np.isnan(image)
    expected = np.zeros((30, 50), bool)
    expected[12 - 4 : 20 - 4, 8 + 2 : 28 + 2] = True
    expected[:, :2] = True  # outside the image
    assert np.array_equal(hidden, expected)
    col, row = (a.ravel().astype(float) for a in np.meshgrid(np.arange(W), np.arange(H)))
    assert (~usable_at(view, col, row)).sum() == 8 * 20


def test_a_mask_of_another_extent_is_refused(tmp_path, bands):
    other = write(tmp_path / "cloud.tif", np.zeros((1, 10, 60), np.uint8))
    view = view_of(write(tmp_path / "a.tif", bands[:1]), masks=(other,))
    with pytest.raises(ImageError, match=r"cloud\.tif.*extent"):
        read_image(view, Window(0, 0, 10, 10))


def test_usable_pixels_are_inside_and_hold_data(tmp_path, bands):
    bands[0, :, :30] = 0
    view = view_of(write(tmp_path / "a.tif", bands[:1], nodata=0))
    col, row = np.array([-0.6, -0.4, 29.4, 29.6, W - 0.6, W - 0.4]), np.full(6, 7.0)
    assert usable_at(view, col, row).tolist() == [False, False, False, True, True, False]
    assert usable_at(replace(view, nodata=None, path=write(tmp_path / "b.tif", bands[:1])), col, row).sum() == 4
    assert not usable_at(view, col + 1000, row).any()


def test_companions_survive_the_manifest(tmp_path, bands):
    colour = write(tmp_path / "c.tif", bands[:3], ("red", "green", "blue"))
    write_rpc_txt(tmp_path / "c_RPC.TXT", make_rpc(1).shifted(7.0, 0.0))
    mask = write(tmp_path / "m.tif", np.zeros((1, H, W), np.uint8))
    view = view_of(write(tmp_path / "a.tif", bands[:1]), colour=colour, masks=(mask,))
    assert view.colour_camera is not None and len(view.fingerprint.split()) == 2
    write_views(tmp_path / "views.json", [view])
    (back,) = read_views(tmp_path / "views.json")
    assert back.masks == (mask,) and back.colour == colour
    lon, lat = view.camera.localise(20.0, 10.0, 500.0)
    assert back.colour_camera.project(lon, lat, 500.0)[0] == pytest.approx(13.0, abs=1e-6)
    assert replace(back, camera=view.camera, colour_camera=view.colour_camera) == view


def test_colour_without_a_camera_is_refused(tmp_path, bands):
    from rsmvs.errors import CameraError

    colour = write(tmp_path / "c.tif", bands[:3])
    with pytest.raises(CameraError, match=r"c\.tif.*no camera"):
        view_of(write(tmp_path / "a.tif", bands[:1]), colour=colour)


def test_real_colour_companion(shared_data):
    folder = shared_data / "gizeh"
    view = describe_image(ImageOptions(path=str(folder / "img1.tif"), colour=str(folder / "color1.tif")))
    lon, lat = view.camera.localise(400.0, 400.0, 60.0)
    assert np.allclose(view.colour_camera.project(lon, lat, 60.0), (400.0, 400.0), atol=1e-6)
