"""Cameras: round trips, agreement with GDAL and rpcm, viewing geometry, refits."""

from __future__ import annotations

import json
import sys
import types

import numpy as np
import pyproj
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import RPCTransformer

from rsmvs.errors import CameraError
from rsmvs.geometry.camera import camera_from_dict
from rsmvs.geometry.ecef import ecef, enu_axes
from rsmvs.geometry.pinhole import Pinhole
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.rpc_fit import refit_rpc
from rsmvs.geometry.viewing import angle_between, footprint, sight_at_ground, sight_at_pixel, viewing_angles
from rsmvs.io.rpc_files import find_camera, tags_from_rpc

IMAGES = (
    *(f"autzen_public/images/v0{i}.tif" for i in (0, 5)),
    *(f"kahramanmaras/{n}.tif" for n in ("pre_event_img1", "post_event_img1")),
    "gizeh/img1.tif",
)


def make_rpc(seed: int, lon: float = 36.9, lat: float = 37.5, curve: float = 1e-3) -> RPC:
    """A plausible camera: a rotated, mirrored affine image of the ground, height parallax, higher terms of order `curve`."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi)
    poly = rng.normal(0, curve, (4, 20)) * np.r_[1.0, [1.0] * 3, [0.5] * 6, [0.1] * 10]
    poly[0, 1:3] += np.cos(angle), np.sin(angle)
    poly[2, 1:3] += np.sin(angle), -np.cos(angle)
    poly[[0, 2], 3] += rng.uniform(-0.1, 0.1, 2)
    poly[[1, 3], 0] = 1.0
    return RPC(np.array([4000.0, 9000.0, lon, lat, 600.0]), np.array([4000.0, 9000.0, 0.12, 0.08, 700.0]), poly)


def spread(camera: RPC, seed: int = 0, n: int = 500) -> tuple[np.ndarray, ...]:
    """Random pixels and heights of a camera's own validity range."""
    t = np.random.default_rng(seed).uniform(-1, 1, (3, n))
    off, scale = camera.offsets[[0, 1, 4]], camera.scales[[0, 1, 4]]
    return tuple(o + s * v for o, s, v in zip(off, scale, t, strict=True))


def nadir(crs: str = "EPSG:32637", tilt: float = 0.0) -> Pinhole:
    """A frame camera 1000 m above the ground frame's Z = 0, its axis tilted by degrees towards +Y."""
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    rotation = np.array([[1.0, 0, 0], [0, -c, -s], [0, s, -c]])
    return Pinhole(rotation, np.array([320000.0, 4160000.0, 1000.0]), 2000.0, (499.5, 399.5), (-50.0, 300.0), crs)


@pytest.fixture(scope="session", params=IMAGES)
def real(request: pytest.FixtureRequest, shared_data) -> tuple[RPC, int, int]:
    with rasterio.open(shared_data / request.param) as src:
        camera, _ = find_camera(src.name, src)
        assert isinstance(camera, RPC)
        return camera, src.width, src.height


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(-180, 180), st.floats(-75, 75), st.floats(0, 4e-3))
def test_project_of_localise_is_identity(seed, lon, lat, curve):
    camera = make_rpc(seed, lon, lat, curve)
    col, row, h = spread(camera, seed)
    u, v = camera.project(*camera.localise(col, row, h), h)
    assert np.hypot(u - col, v - row).max() < 1e-6


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(-60, 60))
def test_pinhole_round_trip(seed, tilt):
    rng = np.random.default_rng(seed)
    for crs in ("EPSG:32637", Pinhole.__dataclass_fields__["crs"].default):
        camera = nadir(crs, tilt)
        col, row, h = rng.uniform(0, 1000, 50), rng.uniform(0, 800, 50), rng.uniform(-50, 300, 50)
        lon, lat = camera.localise(col, row, h)
        u, v = camera.project(lon, lat, h)
        seen = np.isfinite(u)
        assert seen.any()
        assert np.hypot(u - col, v - row)[seen].max() < 1e-6
        assert np.allclose(camera.height_of_depth(col, row, camera.depth(lon, lat, h))[seen], h[seen], atol=1e-6)


def test_real_cameras_round_trip(real):
    camera, width, height = real
    cols, rows = np.linspace(-0.5, width - 0.5, 7), np.linspace(-0.5, height - 0.5, 7)
    c, r, h = np.meshgrid(cols, rows, np.linspace(*camera.height_range, 5))
    u, v = camera.project(*camera.localise(c, r, h), h)
    assert np.hypot(u - c, v - r).max() < 1e-6


def test_agrees_with_gdal(real):
    camera, width, height = real
    rng = np.random.default_rng(1)
    c, r = rng.uniform(0, width, 40), rng.uniform(0, height, 40)
    h = rng.uniform(camera.offsets[4] - 100, camera.offsets[4] + 100, 40)
    lon, lat = camera.localise(c, r, h)
    with RPCTransformer(tags_from_rpc(camera), rpc_pixel_error_threshold=1e-6) as gdal:
        rows, cols = gdal.rowcol(lon, lat, zs=h, op=lambda v: v)
        x, y = gdal.xy(r + 0.5, c + 0.5, zs=h, offset="ul")
    # GDAL's pixel coordinates count from the corner of the upper-left pixel, ours from its centre.
    assert np.hypot(np.array(cols) - 0.5 - c, np.array(rows) - 0.5 - r).max() < 1e-3
    back = camera.project(x, y, h)
    assert np.hypot(back[0] - c, back[1] - r).max() < 1e-3


def test_agrees_with_rpcm(real, monkeypatch):
    for name in ("srtm4", "geojson"):  # rpcm imports them for its command line; its camera model uses neither
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    rpc_model = pytest.importorskip("rpcm.rpc_model")
    camera, width, height = real
    tags = {k.upper(): v for k, v in tags_from_rpc(camera).to_dict().items()}
    theirs = rpc_model.RPCModel({k: " ".join(map(repr, v)) if isinstance(v, list) else v for k, v in tags.items()})
    rng = np.random.default_rng(2)
    c, r, h = rng.uniform(0, width, 40), rng.uniform(0, height, 40), rng.uniform(*camera.height_range, 40)
    lon, lat = camera.localise(c, r, h)
    u, v = theirs.projection(lon, lat, h)
    assert np.hypot(u - c, v - r).max() < 1e-3
    u, v = camera.project(*theirs.localization(c, r, h), h)
    assert np.hypot(u - c, v - r).max() < 1e-3


def test_antimeridian_is_no_seam():
    camera = make_rpc(3, lon=179.98)
    col, row, h = spread(camera)
    lon, lat = camera.localise(col, row, h)
    assert lon.max() > 180.0  # the scene crosses, and its longitudes stay continuous
    wrapped = np.where(lon > 180, lon - 360, lon)
    u, v = camera.project(wrapped, lat, h)
    assert np.hypot(u - col, v - row).max() < 1e-6


def test_impossible_points_are_nan():
    camera = make_rpc(5)
    lon, lat = camera.localise([1e9, np.nan, 4000.0], [0.0, 0.0, np.nan], 600.0)
    assert np.isnan(lon).all() and np.isnan(lat).all()
    level = nadir(tilt=90.0)  # looks at the horizon: the upper half of the image sees no ground
    lon, _ = level.localise([500.0, 500.0], [100.0, 700.0], 0.0)
    assert np.isnan(lon[0]) and np.isfinite(lon[1])
    below = nadir()
    lon, lat = below.localise(500.0, 400.0, 0.0)
    assert np.isnan(below.project(lon, lat, 2000.0)[0])  # behind the camera


@pytest.mark.parametrize("key", ["lat_off", "h_scale", "row_den"])
def test_missing_and_nan_keys_are_named(key):
    values = make_rpc(0).to_dict()
    with pytest.raises(CameraError, match=key):
        RPC.from_dict({k: v for k, v in values.items() if k != key}, "file.txt")
    bad = [np.nan] * 20 if key == "row_den" else np.nan
    with pytest.raises(CameraError, match=rf"file\.txt.*{key}"):
        RPC.from_dict(values | {key: bad}, "file.txt")


def test_zero_scale_is_named():
    with pytest.raises(CameraError, match="h_scale"):
        RPC.from_dict(make_rpc(0).to_dict() | {"h_scale": 0.0})


@pytest.mark.parametrize("camera", [make_rpc(7), nadir(tilt=25.0)], ids=lambda c: c.kind)
def test_json_form_is_exact_and_crops_shift(camera):
    back = camera_from_dict(json.loads(json.dumps(camera.to_dict())))
    lon, lat = camera.localise([10.0, 400.0], [20.0, 300.0], 100.0)
    assert np.array_equal(back.project(lon, lat, 100.0), camera.project(lon, lat, 100.0))
    u, v = camera.shifted(100.5, -7.0).project(lon, lat, 100.0)
    assert np.allclose((u, v), ([-90.5, 299.5], [27.0, 307.0]), atol=1e-6)


def test_unknown_kind_is_named():
    with pytest.raises(CameraError, match="fisheye"):
        camera_from_dict({"kind": "fisheye"}, "views.json")


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_refit_of_random_cameras(seed):
    camera = make_rpc(seed, curve=3e-4)
    _, worst = refit_rpc(camera.project, camera.localise, 8000, 18000, camera.height_range)
    assert worst < 0.01


def test_refit_of_real_cameras(real):
    camera, width, height = real
    refit, worst = refit_rpc(camera.project, camera.localise, width, height, camera.height_range)
    assert worst < 0.01
    low, high = camera.height_range
    c, r, h = np.random.default_rng(4).uniform((0, 0, low), (width, height, high), (200, 3)).T
    u, v = refit.project(*camera.localise(c, r, h), h)
    assert np.hypot(u - c, v - r).max() < 0.01


def test_refit_of_a_pinhole_camera():
    camera = nadir(tilt=10.0)
    _, worst = refit_rpc(camera.project, camera.localise, 1000, 800, camera.height_range)
    assert worst < 0.01


def test_ecef_agrees_with_proj():
    rng = np.random.default_rng(0)
    lon, lat, h = rng.uniform(-180, 180, 100), rng.uniform(-90, 90, 100), rng.uniform(-500, 9000, 100)
    theirs = pyproj.Transformer.from_crs(4979, 4978, always_xy=True).transform(lon, lat, h)
    assert np.abs(ecef(lon, lat, h) - np.stack(theirs, axis=-1)).max() < 1e-6
    axes = enu_axes(lon, lat)
    assert np.allclose(axes @ np.swapaxes(axes, -1, -2), np.eye(3), atol=1e-12)
    assert np.allclose((ecef(lon, lat, h + 1) - ecef(lon, lat, h)), axes[:, 2], atol=1e-8)


def test_viewing_angles_of_known_cameras(shared_data):
    meta = json.loads((shared_data / "autzen_public" / "meta.json").read_text())
    for record in meta["views"]:
        with rasterio.open(shared_data / "autzen_public" / record["file"]) as src:
            camera, _ = find_camera(src.name, src)
            view = viewing_angles(camera, src.width, src.height, record["scene_center_lon_lat_h"][2])
        assert view.incidence == pytest.approx(record["incidence_deg"], abs=0.01)
        assert view.azimuth == pytest.approx(record["satellite_azimuth_deg"], abs=0.02)
        assert 0.49 < view.gsd < 0.54


def test_viewing_angles_of_a_tilted_frame_camera():
    camera = nadir(tilt=25.0)
    view = viewing_angles(camera, 1000, 800, 0.0)
    utm = pyproj.Transformer.from_crs("EPSG:32637", "EPSG:4326", always_xy=True)
    below = utm.transform(*camera.centre[:2])
    azimuth, _, distance = pyproj.Geod(ellps="WGS84").inv(*camera.localise(499.5, 399.5, 0.0), *below)
    assert distance == pytest.approx(1000.0 * np.tan(np.radians(25.0)), rel=1e-3)
    assert view.incidence == pytest.approx(25.0, abs=0.02)
    assert view.azimuth == pytest.approx(azimuth % 360, abs=0.01)
    up = viewing_angles(nadir(), 1000, 800, 0.0)
    assert up.incidence < 0.02 and up.gsd == pytest.approx(0.5, rel=1e-3)  # 1000 m / 2000 px


def test_footprint_projects_to_the_corners(real):
    camera, width, height = real
    h = camera.height_range[0] + 0.3 * (camera.height_range[1] - camera.height_range[0])
    lon, lat = np.array(footprint(camera, width, height, h, per_edge=3)).T
    u, v = camera.project(lon, lat, h)
    assert len(lon) == 12
    assert np.allclose(u[[0, 3, 6, 9]], [-0.5, width - 0.5, width - 0.5, -0.5], atol=1e-6)
    assert np.allclose(v[[0, 3, 6, 9]], [-0.5, -0.5, height - 0.5, height - 0.5], atol=1e-6)


def test_sight_is_the_same_from_pixel_and_ground(real):
    camera, width, height = real
    h = camera.offsets[4]
    lon, lat = camera.localise(width / 2, height / 2, h)
    a, b = sight_at_pixel(camera, width / 2, height / 2, h), sight_at_ground(camera, lon, lat, h)
    assert angle_between(a, b) < 1e-6 and np.linalg.norm(a) == pytest.approx(1.0)


def test_looking_at_the_sky_is_an_error():
    with pytest.raises(CameraError, match="sees no ground"):
        viewing_angles(nadir(tilt=120.0), 1000, 800, 0.0)
    with pytest.raises(CameraError, match="corner"):
        footprint(nadir(tilt=90.0), 1000, 800, 0.0)
