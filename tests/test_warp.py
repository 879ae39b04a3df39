"""The warp field: its error bound on cameras over their full height ranges, for camera and map-projection targets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyproj
import pytest
import rasterio
from test_cameras import make_rpc, nadir

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.warp import TOLERANCE_PX, build_warp_field
from rsmvs.io.rpc_files import find_camera
from rsmvs.types import Window

PAIRS = (
    ("autzen_public/images/v00.tif", "autzen_public/images/v05.tif", "EPSG:32610"),
    ("kahramanmaras/post_event_img1.tif", "kahramanmaras/post_event_img2.tif", "EPSG:32637"),
    ("kahramanmaras/pre_event_img1.tif", "kahramanmaras/post_event_img2.tif", "EPSG:32637"),
    ("gizeh/img1.tif", "gizeh/img2.tif", "EPSG:32636"),
)


@pytest.fixture(scope="session", params=PAIRS, ids=lambda p: p[0].split("/")[0])
def pair(request, shared_data):
    cameras = []
    for name in request.param[:2]:
        with rasterio.open(shared_data / name) as src:
            cameras.append(find_camera(src.name, src)[0])
            size = src.width, src.height
    return *cameras, Window(0, 0, *size), request.param[2]


def random_places(window: Window, heights, n: int = 4000, seed: int = 0):
    low = (window.col - 0.5, window.row - 0.5, heights[0])
    high = (window.col + window.width - 0.5, window.row + window.height - 0.5, heights[1])
    return np.random.default_rng(seed).uniform(low, high, (n, 3)).T


def error(field, reference, target, window, heights) -> float:
    c, r, h = random_places(window, heights)
    u, v = target(*reference.localise(c, r, h), h)
    p, q = field(c, r, h)
    return float(np.hypot(p - u, q - v).max())


def test_bound_holds_between_real_cameras(pair):
    reference, source, window, _ = pair
    heights = reference.height_range
    field = build_warp_field(reference, source.project, window, heights)
    assert field.max_error <= TOLERANCE_PX
    # Places that the construction never saw. The bound is measured at cell middles, where the error of a bilinear
    # interpolation peaks, so elsewhere it may exceed the measured value by a hair only.
    assert error(field, reference, source.project, window, heights) <= 1.1 * max(field.max_error, 1e-6)


def test_bound_holds_for_map_projections(pair):
    reference, _, window, crs = pair
    utm = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)

    def target(lon, lat, h):
        return utm.transform(lon, lat)

    field = build_warp_field(reference, target, window, reference.height_range, tolerance=0.005)
    assert field.max_error <= 0.005
    assert error(field, reference, target, window, reference.height_range) <= 0.0055


@pytest.mark.parametrize("tilt", [0.0, 20.0])
def test_bound_holds_for_frame_cameras(tilt):
    reference = nadir(tilt=tilt)
    source = replace(reference, centre=reference.centre + np.array([150.0, 60.0, 30.0]), focal=2100.0)
    window = Window(0, 0, 1000, 800)
    field = build_warp_field(reference, source.project, window, (-50.0, 300.0))
    assert error(field, reference, source.project, window, (-50.0, 300.0)) <= 1.1 * TOLERANCE_PX


def test_a_camera_warps_onto_itself():
    camera = make_rpc(2)
    window = Window(3000, 5000, 700, 300)
    field = build_warp_field(camera, camera.project, window, camera.height_range)
    c, r, h = random_places(window, camera.height_range)
    assert np.abs(np.array(field(c, r, h)) - (c, r)).max() < 1e-6
    du, dv = field.slope(c, r, h)
    assert np.abs((du, dv)).max() < 1e-6


def test_slope_is_the_parallax(pair):
    reference, source, window, _ = pair
    heights = reference.height_range
    field = build_warp_field(reference, source.project, window, heights)
    c, r, h = random_places(window, (heights[0] + 1, heights[1] - 1), 200)
    u1, v1 = source.project(*reference.localise(c, r, h + 0.5), h + 0.5)
    u0, v0 = source.project(*reference.localise(c, r, h - 0.5), h - 0.5)
    du, dv = field.slope(c, r, h)
    assert np.hypot(du - (u1 - u0), dv - (v1 - v0)).max() < 1e-3
    assert np.hypot(du, dv).min() > 0.05  # the pair has parallax everywhere


def test_windows_and_pyramids_are_the_same_field(pair):
    reference, source, window, _ = pair
    field = build_warp_field(reference, source.project, window, reference.height_range)
    c, r, h = random_places(window, reference.height_range, 100)
    u, v = field(c, r, h)
    p, q = field.moved(30.0, 17.0, 250.0, -40.0)(c - 30.0, r - 17.0, h)
    assert np.allclose((p + 250.0, q - 40.0), (u, v), atol=1e-9)
    p, q = field.at_scale(4)((c - 1.5) / 4, (r - 1.5) / 4, h)
    assert np.allclose((4 * p + 1.5, 4 * q + 1.5), (u, v), atol=1e-9)


def test_a_thin_height_range_is_enough():
    camera, other = make_rpc(2), make_rpc(2).shifted(12.0, 5.0)
    field = build_warp_field(camera, other.project, Window(0, 0, 64, 64), (600.0, 600.0))
    u, v = field(10.0, 20.0, 600.0)
    assert (u, v) == (pytest.approx(-2.0, abs=1e-6), pytest.approx(15.0, abs=1e-6))


def test_no_ground_and_hopeless_targets_are_errors():
    camera = make_rpc(2)
    with pytest.raises(CameraError, match="no ground point"):
        build_warp_field(camera, camera.project, Window(10**9, 0, 10, 10), (0.0, 10.0))

    def noise(lon, lat, h):
        return np.random.default_rng(0).normal(0, 10, (2, *np.shape(lon)))

    with pytest.raises(CameraError, match="no better"):
        build_warp_field(camera, noise, Window(0, 0, 64, 64), (0.0, 10.0))


def test_scale_of_heights_does_not_matter():
    """A steep camera over 9 km of relief still meets the bound: more nodes or a higher degree, found by itself."""
    base = make_rpc(11)
    camera = RPC(base.offsets, base.scales * np.array([1, 1, 1, 1, 6.5]), base.poly)
    other = make_rpc(12)
    other = RPC(other.offsets, camera.scales, other.poly)
    window = Window(2000, 3000, 800, 800)
    field = build_warp_field(camera, other.project, window, (-400.0, 8800.0))
    assert error(field, camera, other.project, window, (-400.0, 8800.0)) <= 1.1 * TOLERANCE_PX
