"""Camera files: the same camera through every format, vendor-like files, precedence, crops, faults, writers.

tests/fixtures/cameras holds one RPC camera in the published form of each vendor, and one frame camera in two.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from test_cameras import make_rpc, spread

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC
from rsmvs.io.pinhole_files import read_depth_range, read_whu_pinhole, write_whu_pinhole
from rsmvs.io.raster import opened
from rsmvs.io.rpc_files import camera_format, find_camera, find_cameras, read_camera
from rsmvs.io.rpc_tags import rpc_from_tags, tags_from_rpc, write_tagged_image
from rsmvs.io.rpc_text import rpcm_dict, write_rpc_txt, write_rpcm_json
from rsmvs.io.rpc_xml import read_rpc_xml, tile_offset

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
FILES = Path(__file__).parent / "fixtures" / "cameras"
SAME = (
    "ikonos_rpc.txt", "whu_tlc.rpc", "worldview.RPB", "worldview.XML", "otb.geom", "dimap1.XML", "RPC_PHR1A_P.XML",
    "RPC_SPOT6_P.XML", "RPC_PNEO3_PAN.XML", "DIM_PHR1A_P.XML",
)  # fmt: skip


@pytest.fixture(scope="module")
def truth() -> RPC:
    values = json.loads((FILES / "rpcm.json").read_text())
    camera = read_camera(FILES / "rpcm.json")
    assert isinstance(camera, RPC) and camera.to_dict()["row_num"] == values["row_num"]
    return camera


def distance(a, b) -> float:
    """Largest distance in pixels of two RPCs over the first one's range."""
    col, row, h = spread(a)
    lon, lat = a.localise(col, row, h)
    u, v = b.project(lon, lat, h)
    return float(np.hypot(u - col, v - row).max())


def image(path: Path, width: int = 64, height: int = 48, origin=(0.0, 0.0), **profile) -> Path:
    values = np.arange(width * height, dtype=np.uint16).reshape(1, height, width)
    transform = Affine(1, 0, origin[0], 0, 1, origin[1])
    with rasterio.open(
        path, "w", driver="GTiff", width=width, height=height, count=1, dtype="uint16", transform=transform, **profile
    ) as dst:
        dst.write(values)
    return path


@pytest.mark.parametrize("name", SAME)
def test_one_camera_in_every_format(name, truth):
    camera = read_camera(FILES / name)
    assert distance(truth, camera) < 1e-6


def test_first_pixel_of_each_dimap_profile(truth):
    """The same numbers under another profile are a camera one pixel away."""
    text = (FILES / "RPC_PHR1A_P.XML").read_text()
    assert f"<SAMP_OFF>{truth.offsets[0] + 1}</SAMP_OFF>" in text
    assert f"<SAMP_OFF>{truth.offsets[0]}</SAMP_OFF>" in (FILES / "RPC_PNEO3_PAN.XML").read_text()


@pytest.mark.parametrize(
    ("source", "beside"), [("ikonos_rpc.txt", "x_RPC.TXT"), ("worldview.RPB", "x.RPB"), ("otb.geom", None)]
)
def test_gdal_reads_the_same(source, beside, truth, tmp_path):
    if beside is None:  # GDAL knows no .geom: it gets ours as _RPC.TXT
        write_rpc_txt(tmp_path / "x_RPC.TXT", read_camera(FILES / source))
    else:
        shutil.copy(FILES / source, tmp_path / beside)
    with rasterio.open(image(tmp_path / "x.tif")) as src:
        assert distance(truth, rpc_from_tags(src.rpcs, "x.tif")) < 1e-6


@pytest.mark.parametrize("tile", ["", "_R1C1", "_R2C2", "_R1C2"])
def test_tiles_of_a_dimap_product(tile, truth, tmp_path):
    product = "PHR1A_P_201906141038062_SEN_1234-1"
    for kind in ("RPC", "DIM"):
        shutil.copy(FILES / f"{kind}_PHR1A_P.XML", tmp_path / f"{kind}_{product}.XML")
    path = image(tmp_path / f"IMG_{product}{tile}.TIF")
    with opened(path) as src:
        camera, source = find_camera(str(path), src)
    shift = {"": (0, 0), "_R1C1": (0, 0), "_R2C2": (12288, 9216), "_R1C2": (12288, 0)}[tile]
    assert distance(truth.shifted(*shift), camera) < 1e-6
    assert f"RPC_{product}.XML" in source
    if tile:
        with rasterio.open(path) as src:  # GDAL's own reader of the product
            assert distance(camera, rpc_from_tags(src.rpcs, path)) < 1e-6


def test_a_tile_without_its_product_is_refused(tmp_path):
    shutil.copy(FILES / "RPC_PHR1A_P.XML", tmp_path)
    with pytest.raises(CameraError, match=r"DIM_PHR1A_P\.XML"):
        tile_offset(tmp_path / "IMG_PHR1A_P_R1C2.TIF", tmp_path / "RPC_PHR1A_P.XML")


def test_both_spellings_of_a_frame_camera():
    a, b = read_camera(FILES / "satmvs_pinhole.txt"), read_camera(FILES / "whu_mvs_pinhole.txt")
    assert a.height_range == pytest.approx((5.0, 90.0)) and b.height_range == pytest.approx((5.0, 90.0))
    col, row, h = np.random.default_rng(0).uniform((0, 0, 5), (768, 384, 90), (100, 3)).T
    lon, lat = a.localise(col, row, h)
    u, v = b.project(lon, lat, h)
    assert np.hypot(u - col, v - row).max() < 1e-6
    near, far = read_depth_range(FILES / "whu_mvs_pinhole.txt")
    assert near < a.depth(*a.localise(383.5, 191.5, 50.0), 50.0) < far


def test_frame_camera_file_round_trip(tmp_path):
    camera = read_whu_pinhole(FILES / "satmvs_pinhole.txt")
    write_whu_pinhole(tmp_path / "c.txt", camera, 0.15, 12, 768, 384)
    again = read_whu_pinhole(tmp_path / "c.txt")
    assert np.allclose(again.centre, camera.centre, atol=1e-9) and np.allclose(again.heights, camera.heights, atol=1e-9)


def test_writers_keep_every_bit(tmp_path):
    rpc = make_rpc(31)
    small = RPC(rpc.offsets + 1 / 3, rpc.scales, rpc.poly * 10.0 ** np.linspace(0, -9, 20))  # coefficients down to 1e-12
    write_rpc_txt(tmp_path / "c_RPC.TXT", small)
    write_rpcm_json(tmp_path / "c.json", small)
    write_tagged_image(image(tmp_path / "a.tif"), tmp_path / "b.tif", small)
    with rasterio.open(tmp_path / "b.tif") as src:
        tagged = rpc_from_tags(src.rpcs, "b.tif")
    for camera in (read_camera(tmp_path / "c_RPC.TXT"), read_camera(tmp_path / "c.json")):
        assert camera.to_dict() == small.to_dict()
    assert distance(small, tagged) < 1e-8  # GDAL hands the tag's doubles on with 15 digits


def test_rpcm_takes_our_json(monkeypatch):
    import sys
    import types

    for name in ("srtm4", "geojson"):
        if name not in sys.modules:
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    rpc_model = pytest.importorskip("rpcm.rpc_model")
    rpc = make_rpc(31)
    lon, lat = rpc.localise(100.0, 200.0, 500.0)
    u, v = rpc_model.RPCModel(rpcm_dict(rpc), dict_format="rpcm").projection(lon, lat, 500.0)
    assert (u, v) == (pytest.approx(100.0, abs=1e-6), pytest.approx(200.0, abs=1e-6))


def test_nitf(tmp_path):
    """NITF's RPC00B has six digits a coefficient and whole offsets: a camera that it can hold comes back exactly."""
    rpc = make_rpc(5)
    poly = np.array([[float(f"{c:.5e}") for c in row] for row in rpc.poly])
    rpc = RPC(np.array([4000.0, 9000.0, 36.9, 37.5, 600.0]), np.array([4000.0, 9000.0, 0.12, 0.08, 700.0]), poly)
    values = np.zeros((1, 32, 32), np.uint8)
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=32, height=32, count=1, dtype="uint8") as dst:
        dst.write(values)
        dst.rpcs = tags_from_rpc(rpc)
    rasterio.shutil.copy(str(tmp_path / "a.tif"), str(tmp_path / "a.ntf"), driver="NITF")
    for extra in tmp_path.glob("a*"):
        if extra.suffix != ".ntf":
            extra.unlink()
    with opened(tmp_path / "a.ntf") as src:
        camera, source = find_camera(str(tmp_path / "a.ntf"), src)
    assert "NITF" in source
    assert distance(rpc, camera) < 1e-6


def test_precedence(tmp_path, truth):
    path = image(tmp_path / "x.tif")
    write_tagged_image(path, tmp_path / "y.tif", truth.shifted(1, 0))
    (tmp_path / "y.tif").replace(path)
    write_rpc_txt(tmp_path / "x_RPC.TXT", truth.shifted(2, 0))
    write_rpcm_json(tmp_path / "x.json", truth.shifted(3, 0))
    write_rpcm_json(tmp_path / "named.json", truth.shifted(4, 0))
    with opened(path) as src:
        found = list(find_cameras(str(path), src, str(tmp_path / "named.json")))
        assert [round(truth.offsets[0] - c.offsets[0]) for c, _ in found] == [4, 2, 3, 1]
        assert ["named.json" in s for _, s in found] == [True, False, False, False]
        assert find_camera(str(path), src)[1].endswith("x_RPC.TXT (RPC text)")
        for name in ("x_RPC.TXT", "x.json"):
            (tmp_path / name).unlink()
        assert find_camera(str(path), src)[1].endswith("(RPC tags)")


def test_files_that_are_no_camera_are_passed_over(tmp_path, truth):
    path = image(tmp_path / "x.tif")
    (tmp_path / "x.txt").write_text("notes on this image: LINE of sight was clear\n")
    (tmp_path / "x.xml").write_text("<metadata><Esri/></metadata>")
    (tmp_path / "x.json").write_text('{"type": "Feature"}')
    with opened(path) as src, pytest.raises(CameraError, match="has no camera"):
        find_camera(str(path), src)


@pytest.mark.parametrize("origin", [(12978.5, 6897.5), (12815.0, 7219.0)])
def test_crops_of_the_full_image(origin, truth, tmp_path):
    path = image(tmp_path / "x.tif", origin=origin)
    for name, target in (("otb.geom", "x.geom"), ("RPC_PHR1A_P.XML", "x.XML")):
        shutil.copy(FILES / name, tmp_path / target)
        with opened(path) as src:
            camera, source = find_camera(str(path), src)
        assert distance(truth.shifted(*origin), camera) < 1e-6
        assert f"crop at {origin[0]:g}" in source
        (tmp_path / target).unlink()


def test_a_crops_own_camera_is_not_shifted_again(tmp_path):
    rpc = make_rpc(8)
    own = RPC(np.r_[32.0, 24.0, rpc.offsets[2:]], np.r_[40.0, 30.0, rpc.scales[2:]], rpc.poly)
    path = image(tmp_path / "x.tif", origin=(12978.5, 6897.5))
    write_rpc_txt(tmp_path / "x_rpc.txt", own)
    with opened(path) as src:
        camera, source = find_camera(str(path), src)
    assert camera.offsets[0] == 32.0 and source.endswith("(RPC text)")


def test_real_crops_agree_with_each_other(shared_data):
    """Both post-event images see the same ground: half-pixel origins and whole ones are read alike."""
    cameras = []
    for name in ("post_event_img1", "post_event_img2"):
        with opened(shared_data / "kahramanmaras" / f"{name}.tif") as src:
            cameras.append(find_camera(src.name, src)[0])
    lon, lat = cameras[0].localise(500.0, 500.0, 550.0)
    col, row = cameras[1].project(lon, lat, 550.0)
    assert 0 < col < 1000 and 0 < row < 1000


@pytest.mark.parametrize(
    ("name", "key", "spoil"),
    [
        ("ikonos_rpc.txt", "LAT_SCALE", lambda t: t.replace("LAT_SCALE", "LAT_SKALE")),
        ("whu_tlc.rpc", "SAMP_DEN_COEFF_20", lambda t: t.replace("SAMP_DEN_COEFF_20:", "# :")),
        ("worldview.RPB", "heightOffset", lambda t: t.replace("heightOffset = 310.0", "heightOffset = NaN")),
        ("worldview.RPB", "sampDenCoef", lambda t: t[: t.rindex(",")] + ");\n"),
        ("worldview.XML", "LATOFFSET", lambda t: t.replace("LATOFFSET", "LAT")),
        ("otb.geom", "line_num_coeff_00", lambda t: t.replace("line_num_coeff_00", "line_num_coeff_0")),
        ("dimap1.XML", "Alt/A", lambda t: t.replace("<A>420.0</A>", "")),
        ("dimap1.XML", "F_ROW", lambda t: t.replace("<F_ROW>", "<F_ROW>1.0 ")),
        ("RPC_PHR1A_P.XML", "Inverse_Model", lambda t: t.replace("Inverse_Model", "Other_Model")),
        ("RPC_PNEO3_PAN.XML", "LINE_NUM_COEFF_7", lambda t: t.replace("LINE_NUM_COEFF_7>", "LINE_X_7>")),
        ("RPC_PNEO3_PAN.XML", "not valid XML", lambda t: t[:4000]),
        ("rpcm.json", "alt_scale", lambda t: t.replace("alt_scale", "alt")),
        ("rpcm.json", "no JSON camera", lambda t: t[:-9]),
        ("satmvs_pinhole.txt", "DMAX", lambda t: "\n".join(t.split("\n")[:7]) + "\n570.5\n"),
        ("satmvs_pinhole.txt", "rotation", lambda t: t.replace("0.838670567945424", "0.9")),
    ],
)
def test_spoilt_files_are_refused_by_key(name, key, spoil, tmp_path):
    text = (FILES / name).read_text()
    assert spoil(text) != text
    (tmp_path / name).write_text(spoil(text))
    with pytest.raises(CameraError, match=key) as caught:
        read_camera(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_nan_in_tags_is_refused():
    tags = tags_from_rpc(make_rpc(0))
    tags.lat_off = float("nan")
    with pytest.raises(CameraError, match=r"image\.tif.*LAT_OFF"):
        rpc_from_tags(tags, "image.tif")


def test_unknown_and_absent_files_are_refused(tmp_path):
    (tmp_path / "x.dat").write_text("hello")
    assert camera_format(tmp_path / "x.dat") is None
    with pytest.raises(CameraError, match="no known camera format"):
        read_camera(tmp_path / "x.dat")
    with pytest.raises(CameraError, match="does not exist"):
        read_camera(tmp_path / "y.dat")
    (tmp_path / "z.xml").write_text("<Dimap_Document/>")
    with pytest.raises(CameraError, match="holds no RPC"):
        read_rpc_xml(tmp_path / "z.xml")
    (tmp_path / "g.geom").write_text((FILES / "otb.geom").read_text().replace("format:  B", "format:  A"))
    with pytest.raises(CameraError, match="polynomial_format"):
        read_camera(tmp_path / "g.geom")


def test_export_of_a_runs_cameras(tmp_path, capsys):
    """What `rsmvs export` writes is the camera of the record, in every file; a frame camera is followed by an RPC."""
    from test_cameras import nadir

    from rsmvs.cli import main
    from rsmvs.io.views import write_views
    from rsmvs.options import ImageOptions
    from rsmvs.stages.views import describe_image

    path = image(tmp_path / "x.tif", 200, 150, origin=(1200.5, 700.5))
    write_rpc_txt(tmp_path / "x_RPC.TXT", make_rpc(4))
    view = describe_image(ImageOptions(path=str(path)))
    frame = replace(view, id="frame", camera=nadir())
    write_views(tmp_path / "views.json", [view, frame])
    assert main(["export", str(tmp_path / "views.json"), "-o", str(tmp_path / "out"), "--images"]) == 0
    assert "frame_RPC.TXT" in capsys.readouterr().out
    for name in ("x_RPC.TXT", "x.json"):
        assert read_camera(tmp_path / "out" / name).to_dict() == view.camera.to_dict()
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "out" / "x.tif", tmp_path / "alone")
    with opened(tmp_path / "alone" / "x.tif") as src:
        tagged, source = find_camera(str(tmp_path / "alone" / "x.tif"), src)
        assert np.array_equal(src.read(), rasterio.open(path).read())
    assert "RPC tags" in source and distance(view.camera, tagged) < 1e-8
    col, row, h = np.random.default_rng(0).uniform((0, 0, -50), (200, 150, 300), (50, 3)).T
    u, v = read_camera(tmp_path / "out" / "frame.json").project(*frame.camera.localise(col, row, h), h)
    assert np.hypot(u - col, v - row).max() < 0.05
