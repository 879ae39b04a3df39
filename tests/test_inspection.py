"""The doctor's look: facts, product levels, warnings, pairs, and what product files tell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from test_camera_files import FILES
from test_cameras import make_rpc

from rsmvs.cli import main
from rsmvs.errors import ImageError
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.rpc_fit import refit_rpc
from rsmvs.io.product_level import ORTHO, ORTHO_READY, SENSOR, product_level
from rsmvs.io.raster import opened
from rsmvs.io.rpc_text import write_rpc_txt
from rsmvs.io.sidecars import read_sidecar
from rsmvs.options import ImageOptions
from rsmvs.stages.inspection import inspect_images
from rsmvs.stages.views import describe_image

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
W, H, HEIGHT, STEP = 200, 150, 640.0, 0.5


def camera(shift: float = 0.0) -> RPC:
    rpc = make_rpc(3, lon=36.9, lat=37.5)
    return RPC(np.r_[W / 2 + shift, H / 2, rpc.offsets[2:]], np.r_[W / 2, H / 2, 1e-3, 8e-4, 700.0], rpc.poly)


def write(path: Path, rpc: RPC | None = None, tags=None, **profile) -> Path:
    values = np.random.default_rng(0).integers(1, 900, (1, H, W)).astype(np.uint16)
    with rasterio.open(path, "w", driver="GTiff", width=W, height=H, count=1, dtype="uint16", **profile) as dst:
        dst.write(values)
        dst.update_tags(**(tags or {}))
    if rpc is not None:
        write_rpc_txt(path.with_name(path.stem + "_RPC.TXT"), rpc)
    return path


class Mapped:
    """A product resampled from a sensor image onto the map at heights h(x, y): its pixels, seen by the sensor's camera."""

    kind = "mapped"
    crs, x0, y0 = "EPSG:32637", 314400.0, 4152400.0

    def __init__(self, slant: float) -> None:
        self.slant = slant  # of the line of sight: ground metres per metre of height

    @property
    def transform(self) -> Affine:
        return Affine(STEP, 0, self.x0, 0, -STEP, self.y0)

    def project(self, lon, lat, h):
        """A point at height h appears where its line of sight meets the plane at HEIGHT."""
        from pyproj import Transformer

        x, y = Transformer.from_crs("EPSG:4326", self.crs, always_xy=True).transform(lon, lat)
        x = x + self.slant * (h - HEIGHT)
        return (x - self.x0) / STEP - 0.5, (self.y0 - y) / STEP - 0.5

    def localise(self, col, row, h):
        from pyproj import Transformer

        x = self.x0 + (col + 0.5) * STEP - self.slant * (h - HEIGHT)
        y = self.y0 - (row + 0.5) * STEP
        return Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True).transform(x, y)

    def rpc(self) -> RPC:
        rpc, worst = refit_rpc(self.project, self.localise, W, H, (500.0, 900.0))
        assert worst < 0.01
        return rpc


def level_of(path: Path, rpc: RPC | None):
    with opened(path) as dataset:
        return product_level(path, dataset, rpc)


def test_sensor_images_are_sensor_images(tmp_path):
    plain = level_of(write(tmp_path / "a.tif"), camera())
    assert plain.name == SENSOR and "no map coordinates" in plain.why
    told = level_of(write(tmp_path / "b.tif", tags={"PROCESSING_LEVEL": "SENSOR"}), camera())
    assert told.name == SENSOR and "PROCESSING_LEVEL" in told.why
    crop = level_of(write(tmp_path / "c.tif", transform=Affine(1, 0, 812.5, 0, 1, 77.5), crs="EPSG:32637"), camera())
    assert crop.name == SENSOR  # unit pixels: a crop's offset, whatever CRS a tool wrote beside it


def test_ortho_ready_is_told_from_true_ortho_by_geometry(tmp_path):
    product = Mapped(slant=0.3)
    path = write(tmp_path / "a.tif", product.rpc(), crs=product.crs, transform=product.transform)
    level = level_of(path, product.rpc())
    assert level.name == ORTHO_READY and f"height {HEIGHT:.0f} m" in level.why
    assert describe_image(ImageOptions(path=str(path))).gsd == pytest.approx(STEP, rel=0.01)  # and it is used
    foreign = level_of(path, camera())  # the RPC of the sensor image, left in an orthoimage
    assert foreign.name == ORTHO and "no height" in foreign.why
    assert level_of(path, None).name == ORTHO


def test_orthoimages_are_refused_unless_named(tmp_path):
    path = write(tmp_path / "a.tif", camera(), tags={"GEOMETRIC_PROCESSING": "ORTHO"})
    with pytest.raises(ImageError, match=r"a\.tif: is an orthoimage.*GEOMETRIC_PROCESSING=ORTHO.*level"):
        describe_image(ImageOptions(path=str(path)))
    assert describe_image(ImageOptions(path=str(path), level="sensor")).width == W


def test_facts_of_an_image(tmp_path):
    found = inspect_images([str(write(tmp_path / "a.tif", camera(), nodata=0))])["images"][0]
    assert (found["width"], found["height"], found["bands"], found["type"], found["format"]) == (W, H, 1, "uint16", "GTiff")
    assert found["camera_source"].endswith("a_RPC.TXT (RPC text)") and found["other_cameras"] == []
    assert found["round_trip_px"] < 1e-6 and found["usable_share"] == 1.0 and found["level"] == SENSOR
    assert found["matching_image"] == "its only band"
    assert [w for w in found["warnings"] if "date" not in w] == []
    json.dumps(found, allow_nan=False)


def test_cameras_that_disagree_are_reported(tmp_path):
    path = write(tmp_path / "a.tif", camera())
    shutil.copy(path.with_name("a_RPC.TXT"), tmp_path / "named_RPC.TXT")
    write_rpc_txt(path.with_name("a_RPC.TXT"), camera(shift=7.0))
    found = inspect_images([str(path)], camera=str(tmp_path / "named_RPC.TXT"))["images"][0]
    assert found["other_cameras"][0]["largest_difference_px"] == pytest.approx(7.0, abs=1e-3)
    assert any("disagrees by 7" in w for w in found["warnings"])


def test_a_camera_of_another_image_is_suspected(tmp_path):
    found = inspect_images([str(write(tmp_path / "a.tif", camera(shift=300.0)))])["images"][0]
    assert any("outside the range" in w for w in found["warnings"])


def test_a_denominator_near_zero_is_reported(tmp_path):
    rpc = camera()
    poly = rpc.poly.copy()
    poly[0, 3] = poly[1, 3] = 0.9  # of height alone: 0.1 to 1.9 over the range
    found = inspect_images([str(write(tmp_path / "a.tif", RPC(rpc.offsets, rpc.scales, poly)))])["images"][0]
    assert any("denominator" in w for w in found["warnings"])


def test_missing_data_is_counted(tmp_path):
    path = write(tmp_path / "a.tif", camera(), nodata=0)
    with rasterio.open(path, "r+") as dst:
        values = dst.read()
        values[:, :, : W // 2] = 0
        dst.write(values)
    found = inspect_images([str(path)])["images"][0]
    assert found["usable_share"] == pytest.approx(0.5, abs=0.02)
    assert any("50 % of the image" in w for w in found["warnings"])


def test_pairs_of_real_images(shared_data):
    folder = shared_data / "kahramanmaras"
    paths = [str(folder / "post_event_img1.tif"), str(folder / "post_event_img2.tif"), str(shared_data / "gizeh" / "img1.tif")]
    pairs = {tuple(p["ids"]): p for p in inspect_images(paths)["pairs"]}
    both = pairs["post_event_img1", "post_event_img2"]
    assert both["convergence_angle"] == pytest.approx(15.9, abs=0.1)
    assert both["overlap"] and both["days"] is None
    last = pairs["post_event_img2", "img1"]
    assert not last["overlap"] and last["days"] == pytest.approx(3718, abs=1)


def test_product_files_tell_date_sun_and_level(tmp_path):
    for name in ("DIM_PHR1A_P.XML", "RPC_PHR1A_P.XML"):
        shutil.copy(FILES / name, tmp_path)
    view = describe_image(ImageOptions(path=str(write(tmp_path / "IMG_PHR1A_P_R1C1.TIF"))))
    assert view.date == "2019-06-14T10:38:06Z" and view.sun == (146.2, 66.8)
    (tmp_path / "w.IMD").write_text(
        'version = "28.3";\nproductLevel = "LV2A";\nBEGIN_GROUP = IMAGE_1\n\tfirstLineTime = 2016-05-04T10:42:14.261900Z;\n'
        "\tmeanSunAz = 160.1;\n\tmeanSunEl =  61.4;\n\tcloudCover = 0.125;\nEND_GROUP = IMAGE_1\nEND;\n"
    )
    path = write(tmp_path / "w.tif", camera())
    view = describe_image(ImageOptions(path=str(path)))
    assert view.date == "2016-05-04T10:42:14Z" and view.sun == (160.1, 61.4)
    found = inspect_images([str(path)])["images"][0]
    assert found["level"] == ORTHO_READY and found["clouds_percent"] == 0.125


def test_other_xml_beside_an_image_is_no_product_file(tmp_path):
    path = write(tmp_path / "a.tif")
    (tmp_path / "a.xml").write_text("<metadata><SUN_AZIMUTH>1</SUN_AZIMUTH></metadata>")
    assert read_sidecar(path) is None
    (tmp_path / "a.xml").write_text("not xml at all <<")
    assert read_sidecar(path) is None


def test_command_line(tmp_path, capsys):
    good = str(write(tmp_path / "a.tif", camera()))
    other = str(write(tmp_path / "b.tif", camera(shift=2.0)))
    assert main(["inspect", good, other, "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "Convergence angle" in said and "round trip" in said and "look out" in said
    written = json.loads((tmp_path / "out.json").read_text())
    assert len(written["images"]) == 2 and len(written["pairs"]) == 1
    assert main(["inspect", good, str(tmp_path / "nowhere.tif"), "--json", "-"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["images"][1]["error"].startswith(str(tmp_path / "nowhere.tif"))
    assert said.err.startswith("error: ")
