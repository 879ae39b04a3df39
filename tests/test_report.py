"""What leaves a run beside its data: the STAC item against the published schema, the manifest, the page in a browser."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import laspy
import numpy as np
import pytest
import rasterio
import torch
from referencing import Registry
from referencing.jsonschema import DRAFT7
from stac_extensions import RULES, schema_of
from tile_scene import AREA, CRS, write_scene

from rsmvs.cli import main
from rsmvs.config import area_tiles, as_dict, scene_grid
from rsmvs.errors import ManifestError
from rsmvs.evaluation.catalogue import manifest, stac_item
from rsmvs.evaluation.pictures import EMPTY, hillshade, relief
from rsmvs.evaluation.report import height_grid, render
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.vertical import product_crs
from rsmvs.geometry.viewing import footprint
from rsmvs.io.manifests import checksum, write_json
from rsmvs.io.pointcloud import Points, write_points
from rsmvs.io.raster import NODATA, read_onto, write_raster
from rsmvs.io.views import write_views
from rsmvs.io.weights import write_weights
from rsmvs.options import (
    AdjustOptions,
    Config,
    FuseOptions,
    HeightsOptions,
    ImageOptions,
    LearnedOptions,
    ProductOptions,
    ReferenceOptions,
    RefineOptions,
)
from rsmvs.stages import evaluation, products, report
from rsmvs.stages.evaluation import evaluate
from rsmvs.stages.products import derive_surfaces, pack_points
from rsmvs.stages.report import catalogue_scene, files_of, picture_scene, report_scene, weights_of
from rsmvs.stages.report_layers import layers
from rsmvs.types import View

SCHEMAS = Path(__file__).parent / "data" / "stac"
CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
VIEWS = ("east", "west")


def _view(folder: Path, name: str, slant: float) -> View:
    """A view over the area: col and row linear in longitude, latitude and height."""
    poly = np.zeros((4, 20))
    poly[0, [1, 3]], poly[1, 0], poly[2, 2], poly[3, 0] = (1.0, slant), 1.0, -1.0, 1.0
    camera = RPC(np.array([600.0, 500.0, 36.9085, 37.586, 900.0]), np.array([600.0, 500.0, 0.0034, 0.0023, 100.0]), poly)
    path = folder / f"{name}.tif"
    write_raster(path, [np.arange(64, dtype=np.uint16).reshape(8, 8)])
    ring = footprint(camera, 1200, 1000)
    return View(
        id=name, path=str(path), camera=camera, camera_source=f"{path} (RPC tags)", width=1200, height=1000, nodata=None,
        weights=(1.0,), date="2023-04-15T08:34:39Z", sun=None, incidence=14.0, azimuth=250.0, gsd=0.5, footprint=ring,
        fingerprint="",
    )  # fmt: skip


def _plan() -> dict[str, Any]:
    pair = {"views": list(VIEWS), "score": 0.9, "angle": 16.0}
    return {
        "tiles": [
            {"tile": t.name, "bounds": list(t.bounds), "ground_height": 900.0, "height_range": [880.0, 960.0],
             "height_source": "tie points", "pairs": [pair],
             "sets": [] if i == 2 else [{"reference": "west", "sources": ["east"], "score": 0.9},
                                        {"reference": "east", "sources": ["west"], "score": 0.8}][: 1 if i == 1 else 2]}
            for i, t in enumerate(area_tiles(AREA))
        ]
    }  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from its tiles to its report, with a reference that lies 0.4 m lower."""
    folder = tmp_path_factory.mktemp("run") / "town"
    write_scene(folder)
    products = folder / "products"
    with rasterio.open(products / "dsm.tif") as src:
        truth, grid = src.read(1, masked=True).filled(np.nan) - 0.4, scene_grid(AREA)
    write_raster(folder / "truth.tif", [truth], grid=grid, crs=CRS, nodata=NODATA)
    views = [_view(folder, name, slant) for name, slant in zip(VIEWS, (0.02, -0.02), strict=True)]
    report = {
        "tracks": 12, "before": {"median_px": 0.5}, "after": {"median_px": 0.1},
        "views": {v: {"observations": 12, "rejected": 1, "before": {"median_px": 0.5}, "after": {"median_px": 0.1},
                      "shift_px": [0.3, -0.1], "flags": []} for v in VIEWS},
    }  # fmt: skip
    write_views(folder / "adjusted.json", views, adjustment=report)
    write_json(folder / "plan.json", _plan())
    write_json(folder / "residuals.json", _residuals())
    _write_logs(folder / "logs")
    derive_surfaces(products / "dsm.tif", ProductOptions(), products)
    pack_points(sorted((folder / "tiles").glob("*/ledger.json")), AREA, ProductOptions(), products / "points.copc.laz")
    labels = np.where(truth < np.nanmedian(truth), 6, 2).astype(np.uint8)  # not what the run says
    write_raster(folder / "classes.tif", [labels], grid=grid, crs=CRS)
    reference = ReferenceOptions(dsm=str(folder / "truth.tif"), classes=str(folder / "classes.tif"), max_shift=0.0)
    evaluate(products / "dsm.tif", reference, products / "metrics.json", uncertainty=products / "uncertainty.tif",
             classes=products / "semantic.tif")  # fmt: skip
    _publish(folder, products)
    return folder


def _residuals() -> dict[str, Any]:
    """Twelve tie points of each view, 3 px to the right before and 0.1 px down after the adjustment."""
    xy = [[100 * i, 60 * i] for i in range(12)]
    view = {"width": 1200, "height": 1000, "points": 12, "median": {"before": 3.0, "after": 0.1}, "xy": xy,
            "before": [[3.0, 0.0]] * 12, "after": [[0.0, 0.1]] * 12}  # fmt: skip
    return dict.fromkeys(VIEWS, view)


def _write_logs(folder: Path) -> None:
    ends = {"mosaic_scene": "done in 4.0 s, 3.5 CPU s, peak 400 MB", "fuse_tile/a": "done in 2.0 s, 1.5 CPU s, peak 300 MB",
            "fuse_tile/b": "trial 1\ndone in 9.0 s, 9.0 CPU s, peak 900 MB\ndone in 3.0 s, 2.5 CPU s, peak 200 MB\nwarning",
            "fuse_tile/killed": "fusing", "own_stage": "done in 1.0 s, 0.5 CPU s, peak 10 MB"}  # fmt: skip
    for name, text in ends.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.log").write_text(f"reading\n{text}\n")


def _publish(folder: Path, products: Path) -> None:
    config = Config(images=tuple(ImageOptions(path=str(folder / f"{v}.tif")) for v in VIEWS), area=AREA, output=str(folder))
    picture_scene(products / "dsm.tif", products / "ortho.tif", products / "preview.png")
    made = sorted(p for p in products.iterdir() if p.name not in ("item.json", "manifest.json", "report.html"))
    catalogue_scene(made, folder / "adjusted.json", as_dict(config), products / "item.json", products / "manifest.json")
    report_scene(products, folder / "adjusted.json", folder / "plan.json", folder / "residuals.json", folder / "truth.tif",
                 products / "report.html", folder / "logs", folder / "timings.json")  # fmt: skip


def _validator() -> jsonschema.Draft7Validator:
    """The published STAC 1.1 item schema with all that it refers to, nothing fetched."""
    schemas = {path.name: json.loads(path.read_text()) for path in SCHEMAS.glob("*.json")}
    base = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/"
    registry = Registry()
    for name, schema in schemas.items():
        resource = DRAFT7.create_resource(schema)
        home = "https://geojson.org/schema/" if name in ("Feature.json", "Geometry.json") else base
        registry = registry.with_resource(home + name, resource)
    return jsonschema.Draft7Validator(schemas["item.json"], registry=registry)


def test_stac_item_keeps_the_published_schema(run: Path) -> None:
    item = json.loads((run / "products" / "item.json").read_text())
    validator = _validator()
    assert list(validator.iter_errors(item)) == []
    assert list(validator.iter_errors({k: v for k, v in item.items() if k != "geometry"}))  # it can say no
    properties, assets = item["properties"], item["assets"]
    assert properties["proj:code"] == "EPSG:32637"
    assert properties["start_datetime"] == "2023-04-15T08:34:39Z"
    assert len(properties["proj:shape"]) == 2 and len(properties["proj:transform"]) == 6
    assert properties["pc:count"] == json.loads((run / "products" / "ledger.json").read_text())["points"]
    with laspy.open(run / "products" / "points.laz") as cloud:
        sizes = {d.name: d.num_bits // 8 for d in cloud.header.point_format.dimensions}
    names = {"Red": "red", "Green": "green", "Blue": "blue", "Intensity": "intensity", "Classification": "classification"}
    assert {s["name"]: s["size"] for s in properties["pc:schemas"]} == {
        s["name"]: sizes[names.get(s["name"], s["name"])] for s in properties["pc:schemas"]
    }
    assert {"n_views", "confidence", "sigma_z", "vote_margin"} <= {s["name"] for s in properties["pc:schemas"]}
    west, south, east, north = item["bbox"]
    assert 36.9 < west < east < 36.93 and 37.58 < south < north < 37.592
    assert {"manifest", "report"} <= set(assets)
    for key, asset in assets.items():
        path = run / "products" / asset["href"]
        assert path.is_file()
        if key in ("manifest", "report"):
            continue  # made from the item: they cannot be part of it
        assert asset["file:size"] == path.stat().st_size
        assert asset["file:checksum"] == "1220" + checksum(path)
        for band in asset.get("bands", []):
            with rasterio.open(path) as src:
                assert (band["data_type"], band.get("nodata")) == (src.dtypes[0], src.nodata), key
                assert src.count == len(asset["bands"])
    assert {c["value"] for c in assets["points_copc_laz"]["classification:classes"]} == {1, 2, 5, 6, 7, 9, 17}
    classes = assets["status"]["bands"][0]["classification:classes"]
    assert [c["value"] for c in classes] == [0, 1, 2, 3, 4]
    assert all(re.fullmatch(r"[0-9A-Za-z_-]+", c["name"]) and re.fullmatch(r"[0-9A-F]{6}", c["color_hint"]) for c in classes)


SPOILED = {
    "projection/v2.0.0": ("properties", "proj:shape", [3]),
    "raster/v2.0.0": ("dsm band", "raster:sampling", "cells"),
    "classification/v2.0.0": ("status band", "classification:classes", [{"value": 1}]),
    "pointcloud/v2.0.0": ("properties", "pc:encoding", "laz"),
    "processing/v1.2.0": ("properties", "processing:software", "rsmvs 0.1"),
    "file/v2.1.0": ("dsm", "file:checksum", "sha256:1234"),
}


@pytest.mark.parametrize("extension", RULES)
def test_stac_item_keeps_the_rules_of_its_extensions(run: Path, extension: str) -> None:
    item = json.loads((run / "products" / "item.json").read_text())
    validator = jsonschema.Draft7Validator(schema_of(extension))
    assert [e.message for e in validator.iter_errors(item)] == []
    assert len(item["stac_extensions"]) == len(RULES)
    place, key, value = SPOILED[extension]
    asset = item["assets"].get(place.split()[0])
    target = item["properties"] if place == "properties" else asset["bands"][0] if "band" in place else asset
    target[key] = value
    assert list(validator.iter_errors(item)), "it cannot say no"


def test_an_item_without_dates_is_valid_too(run: Path) -> None:
    item = json.loads((run / "products" / "item.json").read_text())
    undated = [_view(run, name, 0.0) for name in VIEWS]
    object.__setattr__(undated[0], "date", None)
    object.__setattr__(undated[1], "date", None)
    grid = scene_grid(AREA)
    terms = {"code": "EPSG:32637", "wkt2": item["properties"]["proj:wkt2"], "vertical": "WGS 84 ellipsoid"}
    made = stac_item("town", grid, terms, [tuple(p) for p in item["geometry"]["coordinates"][0][:4]], undated, {}, 0, {})
    assert list(_validator().iter_errors(made)) == []
    assert "do not tell their dates" in made["properties"]["description"]


def test_manifest_names_everything_and_no_folder(run: Path) -> None:
    told = json.loads((run / "products" / "manifest.json").read_text())
    assert told["inputs"]["east"]["sha256"] == checksum(run / "east.tif")
    assert told["products"]["dsm.tif"]["sha256"] == checksum(run / "products" / "dsm.tif")
    assert {"rsmvs", "numpy", "rasterio"} <= set(told["software"])
    assert told["tiles"]["counts"]["failed"] == 1
    assert told["weights"]["fuse.refine"]["file"] == "ground-small.safetensors"
    assert str(run.parent) not in json.dumps(told)


def test_manifest_tells_of_all_files_that_are_named(tmp_path: Path) -> None:
    named = ("truth.tif", "ground.tif", "coarse.tif", "clouds.tif", "colour.tif", "east.rpb", "colour.rpb", "points.csv")
    for name in named:
        (tmp_path / name).write_text(name)
    truth, ground, coarse, clouds, colour, camera, colour_camera, gcps = (str(tmp_path / name) for name in named)
    image = ImageOptions(path="east.tif", camera=camera, colour=colour, colour_camera=colour_camera, masks=(clouds,))
    reference = ReferenceOptions(dsm=truth, dtm=ground, dem=coarse, classes=str(tmp_path / "missing.tif"))
    found = files_of(as_dict(Config(images=(image,), area=AREA, adjust=AdjustOptions(gcps=gcps), reference=reference)))
    assert {key: path.name for key, path in found.items()} == {
        "reference.dsm": "truth.tif", "reference.dtm": "ground.tif", "reference.dem": "coarse.tif",
        "images[0].camera": "east.rpb", "images[0].colour": "colour.tif", "images[0].colour_camera": "colour.rpb",
        "images[0].masks[0]": "clouds.tif", "adjust.gcps": "points.csv",
    }  # fmt: skip
    ledger = {"counts": {}, "reasons": {}, "cells": 0, "valid_cells": 0, "points": 0}
    told = manifest({}, [], {}, ledger, {}, {}, found)["files"]
    assert told["reference.dem"] == {"file": "coarse.tif", "bytes": 10, "sha256": checksum(coarse)}
    view = _view(tmp_path, "east", 0.0)
    object.__setattr__(view, "camera_source", camera)
    assert manifest({}, [view], {}, ledger, {}, {}, {})["inputs"]["east"]["camera_sha256"] == checksum(camera)


def test_weights_in_use_are_told_with_their_checksum(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.safetensors"
    card = {"trained": True, "architecture": {}, "training": {}, "domain": {}, "metrics": {}}
    write_weights(mine, {"bias": torch.zeros(1)}, card)
    heights = HeightsOptions(model="ucs", learned=LearnedOptions(weights=str(mine)))
    plain = FuseOptions(refine=RefineOptions(weights="none"))
    config = Config(images=(), area=AREA, heights=heights, fuse=plain)
    assert weights_of(as_dict(Config(images=(), area=AREA, fuse=plain))) == {}
    assert [p.name for p in weights_of(as_dict(Config(images=(), area=AREA))).values()] == ["ground-small.safetensors"]
    used = weights_of(as_dict(config))
    assert used == {"heights": mine}
    told = manifest({}, [], {}, json.loads((run / "products" / "ledger.json").read_text()), {}, used, {})
    assert told["weights"]["heights"] == {"file": mine.name, "bytes": mine.stat().st_size, "sha256": checksum(mine)}
    mine.write_bytes(mine.read_bytes()[:-1] + b"?")  # after the tiles were made with it
    with pytest.raises(ManifestError, match="does not match the checksum in its card"):
        weights_of(as_dict(config))


def test_times_are_those_of_the_last_jobs(run: Path) -> None:
    told = json.loads((run / "timings.json").read_text())["stages"]
    assert [s["stage"] for s in told] == ["fuse_tile", "mosaic_scene", "own_stage"]
    assert told[0] == {"stage": "fuse_tile", "jobs": 2, "seconds": 5.0, "cpu_seconds": 4.0, "peak_mb": 300.0}
    page = (run / "products" / "report.html").read_text()
    assert '"stage":"fuse_tile"' in re.search(r'id="timings">(.*?)</script>', page, re.DOTALL)[1]
    manifested = (run / "products" / "manifest.json").read_text()
    assert "fuse_tile" not in manifested
    assert (run / "products" / json.loads(manifested)["timings"]).samefile(run / "timings.json")


def test_same_run_same_bytes(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "town"  # another place, the same run
    shutil.copytree(run, again)
    for name in ("preview.png", "item.json", "manifest.json", "report.html"):
        (again / "products" / name).unlink()
    views = [_view(again, name, slant) for name, slant in zip(VIEWS, (0.02, -0.02), strict=True)]
    write_views(again / "adjusted.json", views, adjustment=json.loads((run / "adjusted.json").read_text())["adjustment"])
    _publish(again, again / "products")
    for name in ("preview.png", "item.json", "manifest.json", "report.html"):
        assert (again / "products" / name).read_bytes() == (run / "products" / name).read_bytes(), name


def test_hillshade_of_known_slopes() -> None:
    east = -np.arange(20.0) * np.ones((20, 1))  # falls towards the east at 45 degrees
    assert hillshade(east, 1.0, 45.0, 90.0)[5, 5] == pytest.approx(1.0, abs=1e-6)  # light along its normal
    assert hillshade(east, 1.0, 45.0, 270.0)[5, 5] == pytest.approx(0.0, abs=1e-6)
    assert hillshade(np.zeros((9, 9)), 1.0, 30.0, 10.0)[4, 4] == pytest.approx(0.5)
    south = np.arange(20.0)[:, None] * -np.ones(20)  # falls towards the south: rows run south
    assert hillshade(south, 1.0, 45.0, 180.0)[5, 5] == pytest.approx(1.0, abs=1e-6)
    assert (relief(np.full((5, 5), np.nan), 1.0) == EMPTY).all()


def test_a_reference_on_another_grid_is_read_onto_the_scene(run: Path, tmp_path: Path) -> None:
    dsm = run / "products" / "dsm.tif"
    with rasterio.open(dsm) as src:
        heights, shape = src.read(1, masked=True).filled(np.nan), (src.height // 4, src.width // 4)
    found = read_onto(run / "truth.tif", dsm, shape)
    expected = heights[: 4 * shape[0], : 4 * shape[1]].reshape(shape[0], 4, shape[1], 4).mean((1, 3)) - 0.4
    known = np.isfinite(found) & np.isfinite(expected)
    assert known.mean() > 0.5
    np.testing.assert_allclose(found[known], expected[known], atol=0.03)


def test_errors_are_drawn_against_lidar_points_too(run: Path, tmp_path: Path) -> None:
    """Points half a metre under the surface in the west, 5 m above it in the east: white and blue after the vertical shift."""
    with rasterio.open(run / "products" / "dsm.tif") as src:
        heights, grid = src.read(1, masked=True).filled(np.nan), scene_grid(AREA)
    rows, cols = np.nonzero(np.isfinite(heights))
    x, y = grid.x0 + (cols + 0.5) * grid.step, grid.y0 - (rows + 0.5) * grid.step
    xyz = np.stack([x, y, heights[rows, cols] + np.where(cols < grid.width / 2, -0.5, 5.0)], 1)
    ones = np.ones(len(xyz), np.float32)
    cloud = Points(xyz, ones.astype(np.uint8), ones.astype(np.uint16), ones.astype(np.uint8), ones, ones)
    write_points(tmp_path / "lidar.laz", cloud, corner=(grid.x0, grid.y0 - 500), crs=product_crs(CRS))
    shift = {"dx": 0.0, "dy": 0.0, "dz": -0.5}
    row = layers(run / "products", [], tmp_path / "lidar.laz", {"shift": shift})[-1]
    assert row["name"] == "error"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(row["src"].split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    known = np.abs(picture.astype(int) - 150).max(-1) > 20  # the rest is grey: no heights
    assert known.mean() > 0.5
    halves = (slice(0, 578), slice(578, None))
    west, east = (np.median(picture[:, half][known[:, half]], axis=0) for half in halves)
    assert west.min() > 235  # no error left: the surface was lowered by what it lies higher
    assert east[0] > 150 and east[2] < 60  # blue, green, red: the surface lies lower


def test_two_surfaces_compared(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(run / "products" / "dsm.tif"), str(run / "truth.tif")
    assert (
        main(["compare", a, b, "--max-shift", "0", "--json", str(tmp_path / "c.json"), "--picture", str(tmp_path / "c.png")])
        == 0
    )
    assert "-0.40 m up" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text())["raw"]["median"] == pytest.approx(0.4, abs=1e-3)
    with rasterio.open(tmp_path / "c.png") as src:
        picture = src.read()
    assert ((picture == 247).all(0) | (picture == 150).all(0)).mean() > 0.99  # equal after the shift, or missing


def test_data_cannot_break_out_of_the_page() -> None:
    page = render({"title": "</script><script>alert(1)</script>"})
    assert "</script><script>alert" not in page
    assert "/*DATA*/" not in page


def test_heights_of_the_page_are_close() -> None:
    heights = np.array([[10.0, np.nan], [700.123, 55.5]])
    grid = height_grid(heights, 0.5)
    values = np.frombuffer(base64.b64decode(grid["data"]), "<u2").reshape(2, 2)
    assert values[0, 1] == 65535
    np.testing.assert_allclose(grid["low"] + grid["unit"] * values[[0, 1, 1], [0, 0, 1]], [10.0, 700.123, 55.5], atol=0.01)


def test_page_needs_no_network(run: Path) -> None:
    text = (run / "products" / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", text)
    assert not re.search(r"@import|url\((?!data:)|fetch\(|XMLHttpRequest", text)
    assert len(text) < 15e6


def _opened(page: Path, folder: Path, width: int, dark: bool) -> dict[str, Any]:
    """What the clicks find on a page."""
    clicks = f"<script>{Path(__file__).with_name('page_clicks.js').read_text()}</script>"
    (folder / "report.html").write_text(page.read_text().replace("</head>", clicks + "</head>"))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
               f"--window-size={width},900", "--virtual-time-budget=60000",
               f"--blink-settings=preferredColorScheme={0 if dark else 1}",
               "--dump-dom", f"file://{folder / 'report.html'}"]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout
    found = re.search(r'data-result="([^"]*)"', shown)
    assert found, shown[-500:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="no headless browser (apt package chromium)")
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (500, True)])
def test_page_in_a_browser(run: Path, tmp_path: Path, width: int, dark: bool) -> None:
    page = _opened(run / "products" / "report.html", tmp_path, width, dark)
    assert page["errors"] == []
    _check_swipe(page)
    _check_views(page)
    _check_scores(page)
    assert page["dark"] == dark
    assert (page["page"] < 60 and page["ink"] > 180) if dark else (page["page"] > 200 and page["ink"] < 80)
    assert page["wide"] <= page["window"]  # nothing sticks out: tables scroll by themselves
    assert page["sections"] == ["Surface and image", "In three dimensions", "Views and tiles", "Adjustment of the cameras",
                                "Against the reference", "Tiles", "Time", "Products and what they were made from"]  # fmt: skip
    assert page["stages"] == 4
    # the orthoimage is brighter in the east, which is first seen on the right, and after half a turn on the left
    assert page["solid"]["n"] > 10_000 and page["solid"]["outside"] == 0  # the scene fits
    assert page["closer"]["n"] > page["solid"]["n"]
    assert page["closer"]["brighter"] > 20 and page["turned"]["brighter"] < -20


def _check_swipe(page: dict[str, Any]) -> None:
    assert page["unmoved"] == "50%" and page["divide"] == page["still"] == "25%"
    assert page["before"] != page["after"]
    assert re.match(r"34[678] m long", page["after"]), page["after"]  # 0.6 of the 578 m of the area
    assert re.match(r"18[012] m long", page["near"]), page["near"]  # half of what is seen, enlarged 1.6 times
    assert page["panned"] and page["whole"] == "translate(0px, 0px) scale(1)"
    # enlarged about the middle and moved by a tenth to the left, the divide at 25 % cuts the picture at its 40.6 %
    assert page["cut"] == pytest.approx(100 - 100 * (0.25 + 0.3 + 0.1) / 1.6, abs=0.5)
    assert page["left"] == "error" and page["shown"]
    assert {"relief", "orthoimage", "semantic", "status", "filling", "uncertainty", "confidence", "agreeing views"} <= set(
        page["layers"]
    )
    assert page["legends"] == [2, 0]  # of the error on the left; the orthoimage has none
    assert page["round"]


def _check_views(page: dict[str, Any]) -> None:
    """Plan: west then east serve the tiles; the second has west alone, the third none. Residuals: 3 px right, 0.1 px down."""
    assert [row[1:] for row in page["ranks"][:3]] == [["2 ●", "1 ●"], ["●", "1"], ["", ""]]
    assert "References: west with east." in page["tile"]
    before, after = (re.findall(r"l(-?\d+) (-?\d+)", d) for d in page["arrows"])
    assert before == [("60", "0")] * 12 and after == [("0", "60")] * 12  # each at its own scale: a twentieth of the image


def _check_scores(page: dict[str, Any]) -> None:
    assert all(word in page["scores"] for word in ("mIoU ", "mean F1", "mIoU3 within 1 m", "mIoU3 within 2.5 m", "LE90"))
    head, *rows = page["confusion"]
    assert head[1:] == ["ground", "building", "none", "cells"] and [r[0] for r in rows] == ["ground", "building"]
    for row in rows:
        assert sum(float(v.removesuffix(" %")) for v in row[1:-1]) == pytest.approx(100, abs=0.2)


def test_rules_carry_the_revisions_of_their_stages() -> None:
    stages = {
        "mosaic_scene": products.MOSAIC_REVISION, "pack_points": products.PACK_REVISION,
        "derive_surfaces": products.DERIVE_REVISION, "evaluate": evaluation.EVALUATE_REVISION,
        "picture_scene": report.PREVIEW_REVISION, "catalogue_scene": report.CATALOGUE_REVISION,
        "report_scene": report.REPORT_REVISION,
    }  # fmt: skip
    rules = "".join((Path(__file__).parents[1] / "rules" / f"{name}.smk").read_text() for name in ("products", "report"))
    found = {name: int(number) for name, number in re.findall(r"rule (\w+):.*?revision=(\d+)", rules, re.DOTALL)}
    assert found == stages
