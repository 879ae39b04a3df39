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

import jsonschema
import numpy as np
import pytest
import rasterio
from referencing import Registry
from referencing.jsonschema import DRAFT7
from tile_scene import AREA, CRS, write_scene

from rsmvs.cli import main
from rsmvs.config import area_tiles, as_dict, scene_grid
from rsmvs.evaluation.catalogue import stac_item
from rsmvs.evaluation.pictures import EMPTY, hillshade, relief
from rsmvs.evaluation.report import height_grid, render
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.viewing import footprint
from rsmvs.io.manifests import checksum, write_json
from rsmvs.io.raster import NODATA, read_onto, write_picture, write_raster
from rsmvs.io.views import write_views
from rsmvs.options import Config, ImageOptions, ProductOptions, ReferenceOptions
from rsmvs.stages import products, report
from rsmvs.stages.products import derive_surfaces, evaluate, pack_points
from rsmvs.stages.report import catalogue_scene, picture_scene, report_scene
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
        fingerprint="0-0",
    )  # fmt: skip


def _plan() -> dict[str, Any]:
    pair = {"views": list(VIEWS), "score": 0.9, "angle": 16.0}
    return {
        "tiles": [
            {"tile": t.name, "bounds": list(t.bounds), "ground_height": 900.0, "height_range": [880.0, 960.0],
             "height_source": "tie points", "pairs": [pair]}
            for t in area_tiles(AREA)
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
    write_picture(folder / "residuals.png", np.full((40, 60, 3), 200, np.uint8))
    derive_surfaces(products / "dsm.tif", ProductOptions(), products)
    pack_points(sorted((folder / "tiles").glob("*/ledger.json")), AREA, ProductOptions(), products / "points.copc.laz")
    reference = ReferenceOptions(dsm=str(folder / "truth.tif"), max_shift=0.0)
    evaluate(products / "dsm.tif", reference, products / "metrics.json", uncertainty=products / "uncertainty.tif")
    _publish(folder, products)
    return folder


def _publish(folder: Path, products: Path) -> None:
    config = Config(images=tuple(ImageOptions(path=str(folder / f"{v}.tif")) for v in VIEWS), area=AREA, output=str(folder))
    picture_scene(products / "dsm.tif", products / "ortho.tif", products / "preview.png")
    made = sorted(p for p in products.iterdir() if p.name not in ("item.json", "manifest.json", "report.html"))
    catalogue_scene(made, folder / "adjusted.json", as_dict(config), products / "item.json", products / "manifest.json")
    report_scene(products, folder / "adjusted.json", folder / "plan.json", folder / "residuals.png", folder / "truth.tif",
                 products / "report.html")  # fmt: skip


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
    assert {s["type"] for s in properties["pc:schemas"]} <= {"floating", "unsigned", "signed"}
    west, south, east, north = item["bbox"]
    assert 36.9 < west < east < 36.93 and 37.58 < south < north < 37.592
    for asset in assets.values():
        path = run / "products" / asset["href"]
        assert asset["file:size"] == path.stat().st_size
        assert asset["file:checksum"] == "1220" + checksum(path)
    classes = assets["status"]["bands"][0]["classification:classes"]
    assert [c["value"] for c in classes] == [0, 1, 2, 3, 4]
    assert all(re.fullmatch(r"[0-9A-Za-z_-]+", c["name"]) and re.fullmatch(r"[0-9A-F]{6}", c["color_hint"]) for c in classes)


def test_an_item_without_dates_is_valid_too(run: Path) -> None:
    item = json.loads((run / "products" / "item.json").read_text())
    undated = [_view(run, name, 0.0) for name in VIEWS]
    object.__setattr__(undated[0], "date", None)
    object.__setattr__(undated[1], "date", None)
    grid = scene_grid(AREA)
    terms = {"code": "EPSG:32637", "wkt2": item["properties"]["proj:wkt2"], "vertical": "WGS 84 ellipsoid"}
    made = stac_item("town", grid, terms, [tuple(p) for p in item["geometry"]["coordinates"][0][:4]], undated, {}, 0)
    assert list(_validator().iter_errors(made)) == []
    assert "do not tell their dates" in made["properties"]["description"]


def test_manifest_names_everything_and_no_folder(run: Path) -> None:
    manifest = json.loads((run / "products" / "manifest.json").read_text())
    assert manifest["inputs"]["east"]["sha256"] == checksum(run / "east.tif")
    assert manifest["products"]["dsm.tif"]["sha256"] == checksum(run / "products" / "dsm.tif")
    assert {"rsmvs", "numpy", "rasterio"} <= set(manifest["software"])
    assert manifest["tiles"]["counts"]["failed"] == 1
    assert str(run.parent) not in json.dumps(manifest)


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


# Clicks as a user does, and tells what then stands on the page.
_CLICKS = """<script>
const errors = []; addEventListener("error", e => errors.push(e.message)); console.error = (...a) => errors.push(a.join(" "));
addEventListener("load", () => setTimeout(() => { const s = document.getElementById("swipe"), b = s.getBoundingClientRect();
  const at = (type, x, y) => s.dispatchEvent(new PointerEvent(type,
    {clientX: b.left + x * b.width, clientY: b.top + y * b.height, bubbles: true}));
  const before = document.getElementById("profile-text").textContent;
  at("pointermove", .25, .5); at("click", .2, .2); at("click", .8, .2);
  const left = document.getElementById("left"); left.value = left.options[left.options.length - 1].value; left.onchange();
  const canvas = document.getElementById("view3d");
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let drawn = 0; for (let i = 3; i < pixels.length; i += 4) drawn += pixels[i] > 0;
  document.body.dataset.result = JSON.stringify({errors, before, after: document.getElementById("profile-text").textContent,
    divide: document.getElementById("handle").style.left, drawn, wide: document.documentElement.scrollWidth, window: innerWidth,
    sections: [...document.querySelectorAll("section h2")].map(h => h.textContent), left: left.value,
    shown: document.getElementById("over").naturalWidth > 0}); }, 1500));
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no headless browser (apt package chromium)")
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (400, True)])
def test_page_in_a_browser(run: Path, tmp_path: Path, width: int, dark: bool) -> None:
    text = (run / "products" / "report.html").read_text()
    (tmp_path / "report.html").write_text(text.replace("</head>", _CLICKS + "</head>"))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               f"--window-size={width},900", "--virtual-time-budget=6000", *(["--force-dark-mode"] if dark else []),
               "--dump-dom", f"file://{tmp_path / 'report.html'}"]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'data-result="([^"]*)"', shown)
    assert found, shown[-500:]
    page = json.loads(html.unescape(found[1]))
    assert page["errors"] == []
    assert page["divide"] == "25%"
    assert re.match(r"34[678] m long", page["after"]), page["after"]  # 0.6 of the 578 m of the area
    assert page["before"] != page["after"]
    assert page["left"].startswith("error") and page["shown"]
    assert page["drawn"] > 10_000
    assert page["wide"] <= page["window"]  # nothing sticks out: tables scroll by themselves
    assert page["sections"] == ["Surface and image", "In three dimensions", "Views and tiles", "Adjustment of the cameras",
                                "Against the reference", "Tiles", "Products and what they were made from"]  # fmt: skip


def test_rules_carry_the_revisions_of_their_stages() -> None:
    stages = {
        "mosaic_scene": products.MOSAIC_REVISION, "pack_points": products.PACK_REVISION,
        "derive_surfaces": products.DERIVE_REVISION, "evaluate": products.EVALUATE_REVISION,
        "picture_scene": report.PREVIEW_REVISION, "catalogue_scene": report.CATALOGUE_REVISION,
        "report_scene": report.REPORT_REVISION,
    }  # fmt: skip
    rules = "".join((Path(__file__).parents[1] / "rules" / f"{name}.smk").read_text() for name in ("products", "report"))
    found = {name: int(number) for name, number in re.findall(r"rule (\w+):.*?revision=(\d+)", rules, re.DOTALL)}
    assert found == stages
