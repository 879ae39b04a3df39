"""The workflow as a whole, on the smallest simulated scene: what runs again and when, kills, bad input."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from workflow_runs import RSMVS, pending, products, run, write_config

from rsmvs.config import as_dict, build, load_config
from rsmvs.errors import CameraError, ConfigError, CoverageError, ImageError, RsmvsError
from rsmvs.io.raster import opened, write_raster
from rsmvs.io.rpc_files import find_camera, tags_from_rpc
from rsmvs.options import AreaOptions, ImageOptions
from rsmvs.simulate.options import preset
from rsmvs.stages.simulate import simulate
from rsmvs.stages.views import index_views

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A finished run of its own, with the file times of the original."""
    shutil.copytree(finished / "out", tmp_path / "out", copy_function=shutil.copy2)
    return tmp_path


def test_a_run_ends_with_all_products_and_an_accurate_surface(finished: Path):
    folder = finished / "out" / "products"
    ledger, metrics = (json.loads((folder / name).read_text()) for name in ("ledger.json", "metrics.json"))
    assert ledger["counts"] == {"ok": 2, "empty": 0, "failed": 0}
    assert {"dsm.tif", "n_views.tif", "confidence.tif", "ortho.tif", "points.laz"} <= {p.name for p in folder.iterdir()}
    figures = metrics["aligned"]  # the reference is twice as large as the area of this run
    assert ledger["completeness"] > 95 and figures["completeness"] > 47 and figures["mae"] < 0.5


def test_a_second_run_does_nothing(finished: Path):
    before = {p: p.stat().st_mtime_ns for p in (finished / "out").rglob("*") if p.is_file() and ".snakemake" not in p.parts}
    said = run(finished / "my.yaml")
    assert said.returncode == 0 and "dsm.tif" in said.stdout and said.stderr == ""
    after = {p: p.stat().st_mtime_ns for p in before}
    changed = {p.name for p in before if before[p] != after[p]}
    assert changed <= {".lock"}


CHANGES = [
    ("match", "patch", 25, {"match_views"}),
    ("adjust", "min_tracks", 12, {"adjust_views"}),
    ("select", "max_sets", 3, {"select_views"}),
    ("heights", "max_views", 2, {"predict_heights"}),
    ("filter", "max_height_difference", 2.0, {"filter_heights"}),
    ("fuse", "fill_radius", 0.5, {"fuse_tile"}),
    ("reference", "max_shift", 2.0, {"evaluate"}),
    ("ledger", "max_failed", 0.5, set()),
]
CHAIN = ("index_views", "match_views", "adjust_views", "select_views",
         "predict_heights", "filter_heights", "fuse_tile", "evaluate")  # fmt: skip



@pytest.mark.parametrize(("section", "key", "value", "first"), CHANGES, ids=[c[0] for c in CHANGES])
def test_an_option_runs_its_stage_again_and_nothing_before(
    section: str, key: str, value: Any, first: set[str], finished: Path, two_tiles: dict[str, Any]
):
    changed = {**two_tiles.get(section, {}), key: value}
    jobs = pending(write_config(finished, two_tiles, f"{section}.yaml", **{section: changed}))
    if not first:
        assert jobs == {}
        return
    place = CHAIN.index(*first)
    assert set(jobs) >= set(CHAIN[place:]) and not set(jobs) & set(CHAIN[:place])
    assert ("mosaic_scene" in jobs) == (first != {"evaluate"})


def test_an_equal_plan_runs_no_tile_again(copied: Path, two_tiles: dict[str, Any]):
    config = write_config(copied, two_tiles, select={"max_days": 59.0})  # all views are of one day: the plans stay the same
    assert "predict_heights" in pending(config)  # what a single pass would do
    assert run(config, "--target", "plan").returncode == 0
    assert pending(config) == {}


def test_a_new_image_runs_the_tiles_it_touches(copied: Path, two_tiles: dict[str, Any], tmp_path: Path):
    crop(two_tiles["images"][0]["path"], tmp_path / "part.tif", 0.0, 0.3)  # its western part: one of the two tiles
    images = [*two_tiles["images"], {"path": str(tmp_path / "part.tif"), "date": two_tiles["images"][0]["date"]}]
    config = write_config(copied, two_tiles, images=images)
    assert run(config, "--target", "plan").returncode == 0
    jobs = pending(config)
    assert jobs["predict_heights"] == jobs["filter_heights"] == jobs["fuse_tile"] == 1
    assert jobs["mosaic_scene"] == 1


def test_a_larger_area_keeps_the_tiles_it_has(copied: Path, two_tiles: dict[str, Any]):
    xmin, ymin, xmax, ymax = two_tiles["area"]["aoi"]
    larger = {**two_tiles["area"], "aoi": [xmin, ymin, xmax + two_tiles["area"]["tile_size"], ymax]}
    config = write_config(copied, two_tiles, area=larger)
    assert run(config, "--target", "plan").returncode == 0
    assert pending(config)["predict_heights"] == 1


def test_classes_come_and_go_with_the_matcher(two_tiles: dict[str, Any], tmp_path: Path):
    """Their rasters are products like others: catalogued, judged, made anew when one is lost, gone with the matcher."""
    area = two_tiles["area"]
    xmin, ymin, _, ymax = area["aoi"]
    values = {**two_tiles, "area": {**area, "aoi": [xmin, ymin, xmin + area["tile_size"], ymax]},
              "fuse": {"refine": {"weights": "none"}}}  # fmt: skip
    config = write_config(tmp_path, values, heights={"model": "mvsr3d"})
    said = run(config)
    assert said.returncode == 0, said.stderr
    folder = tmp_path / "out" / "products"
    item, manifest, metrics = (json.loads((folder / f"{name}.json").read_text()) for name in ("item", "manifest", "metrics"))
    classified = {"semantic.tif", "semantic.tif.aux.xml", "class_votes.tif", "vote_margin.tif"}
    assert classified <= set(manifest["products"])
    assert {"semantic", "class_votes", "vote_margin"} <= set(item["assets"])
    assert np.sum(metrics["classes"]["confusion"]) > 1000
    assert '"name":"semantic"' in (folder / "report.html").read_text()
    (folder / "semantic.tif").unlink()
    assert set(pending(config)) == {"mosaic_scene", "evaluate", "derive_surfaces", "picture_scene"}
    said = run(write_config(tmp_path, values))
    assert said.returncode == 0, said.stderr
    assert not classified & {p.name for p in folder.iterdir()}
    assert not classified & set(json.loads((folder / "manifest.json").read_text())["products"])
    assert "classes" not in json.loads((folder / "metrics.json").read_text())
    assert '"name":"semantic"' not in (folder / "report.html").read_text()


def killed_and_resumed(config: Path, folder: Path, after: float) -> dict[str, bytes]:
    """The products of a run that is killed with all its processes after some seconds, and started again."""
    process = subprocess.Popen([*RSMVS, "run", str(config), "--cores", "2"], start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    time.sleep(after)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said = run(config)
    assert said.returncode == 0, said.stderr
    assert not [p for p in (folder / "out").rglob(".*.*") if p.name.split(".")[1].isdigit() and ".snakemake" not in p.parts]
    return products(folder)


@pytest.mark.soak
def test_one_run_of_the_demo_survives_many_kills(demo: Path, tmp_path: Path):
    """One folder: killed with all its processes at random moments, as often as RSMVS_KILLS (20) says, and started again.

    No run comes further than its share of the jobs, so that all kills meet the same run, in all its stages.
    """
    values, kills, chance = as_dict(load_config(demo)), int(os.environ.get("RSMVS_KILLS", "20")), random.Random(1)
    right, config = tmp_path / "right", write_config(tmp_path, values)
    right.mkdir()
    began = time.monotonic()
    said = run(write_config(right, values))
    assert said.returncode == 0, said.stderr
    took, jobs = time.monotonic() - began, ended(right)
    for k in range(kills):
        process = subprocess.Popen([*RSMVS, "run", str(config), "--cores", "2"], start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        moment = time.monotonic() + chance.uniform(0.0, took / 2)
        while time.monotonic() < moment and ended(tmp_path) < jobs * (k + 1) / (kills + 1):
            time.sleep(0.05)
        assert process.poll() is None, "the run ended before all kills"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(f"kill {k + 1}: {ended(tmp_path)} of {jobs} jobs done", flush=True)
    said = run(config)
    assert said.returncode == 0, said.stderr
    assert products(tmp_path) == products(right)


def ended(folder: Path) -> int:
    """Jobs of a run that have ended, by their logs."""
    said = []
    for path in (folder / "out" / "logs").rglob("[!.]*.log"):
        with suppress(FileNotFoundError):  # Snakemake takes a log away before it tries again
            said.append(path.read_text(errors="replace"))
    return sum("\ndone in " in text for text in said)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration of `make demo`, beside its scene."""
    folder = tmp_path_factory.mktemp("demo")
    simulate(preset("demo"), folder / "runs" / "demo_scene")
    (folder / "config").mkdir()
    return Path(shutil.copy(ROOT / "config" / "demo.yaml", folder / "config"))


def test_kills_end_in_the_same_bytes(finished: Path, two_tiles: dict[str, Any], tmp_path: Path):
    config = write_config(tmp_path, two_tiles)
    launcher = subprocess.Popen([*RSMVS, "run", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "out" / "views.json").exists():
        time.sleep(0.05)
    launcher.kill()  # alone: Snakemake must not live on and hold the folder
    launcher.wait()
    after = random.Random().uniform(1.0, 10.0)
    assert killed_and_resumed(config, tmp_path, after) == products(finished), f"killed after {after:.2f} s"


def test_a_tile_that_is_begun_goes_before_the_next_one(two_tiles: dict[str, Any], tmp_path: Path):
    said = run(write_config(tmp_path, two_tiles), "--cores", "1")
    assert said.returncode == 0, said.stderr
    first, second = sorted((tmp_path / "out" / "tiles").iterdir(), key=lambda tile: (tile / "ledger.json").stat().st_mtime_ns)
    assert (first / "ledger.json").stat().st_mtime_ns < (second / "heights" / "index.json").stat().st_mtime_ns


def test_a_tile_alone_by_its_name(copied: Path, two_tiles: dict[str, Any]):
    config = write_config(copied, two_tiles)
    first, second = sorted(path.name for path in (copied / "out" / "tiles").iterdir())
    ledgers = [copied / "out" / "tiles" / name / "ledger.json" for name in (first, second)]
    before = [ledger.stat().st_mtime_ns for ledger in ledgers]
    said = run(config, "--tile", second)
    assert said.returncode == 0 and said.stdout.startswith(f"{second}: ok\n")
    after = [ledger.stat().st_mtime_ns for ledger in ledgers]
    assert after[0] == before[0] and after[1] > before[1]
    said = run(config, "--tile", "x0_y0")
    assert said.returncode == 1 and "'x0_y0' is no tile of the area" in said.stderr


def crop(source: str, out: Path, begin: float, end: float) -> Path:
    """The columns of an image between two shares of its width, with their camera."""
    with opened(source) as image:
        camera, _ = find_camera(source, image)
        pixels, c0, c1 = image.read(1), round(begin * image.width), round(end * image.width)
    write_raster(out, [pixels[:, c0:c1]], nodata=0, rpcs=tags_from_rpc(camera.shifted(c0, 0)))
    return out


def spoiled(name: str, images: list[str], folder: Path) -> list[str]:
    """Paths of images of which the last is bad in the named way."""
    out = folder / "bad.tif"
    if name == "no camera":
        write_raster(out, [np.arange(4096, dtype=np.uint16).reshape(64, 64)])
    elif name == "truncated":
        out.write_bytes(Path(images[-1]).read_bytes()[: Path(images[-1]).stat().st_size * 2 // 3])
    elif name == "truncated pixels":  # a header before its pixels: opening such a file says nothing
        with opened(images[-1]) as image:
            profile = {key: image.profile[key] for key in ("driver", "width", "height", "count", "dtype", "nodata")}
            with rasterio.open(out, "w", **profile, rpcs=image.rpcs) as raw:
                raw.write(image.read())
        out.write_bytes(out.read_bytes()[: out.stat().st_size // 2])
    elif name == "unreadable":
        out.write_text("no image at all")
    elif name == "all nodata":
        with opened(images[-1]) as image:
            camera, _ = find_camera(images[-1], image)
            write_raster(out, [np.zeros((image.height, image.width), np.uint16)], nodata=0, rpcs=tags_from_rpc(camera))
    elif name == "elsewhere":
        with opened(images[-1]) as image:
            camera, _ = find_camera(images[-1], image)
            write_raster(out, [image.read(1)], nodata=0, rpcs=tags_from_rpc(camera.shifted(2000, 0)))
    elif name == "no overlap":
        return [str(crop(images[0], folder / "west.tif", 0.0, 0.25)), str(crop(images[1], folder / "east.tif", 0.75, 1.0))]
    elif name == "one image":
        return images[:1]
    return [*images[:-1], str(out)]


BAD_INPUTS = {
    "no camera": (CameraError, "bad.tif"),
    "truncated": (ImageError, "bad.tif"),
    "truncated pixels": (ImageError, "bad.tif"),
    "unreadable": (ImageError, "bad.tif"),
    "all nodata": (ImageError, "bad.tif"),
    "elsewhere": (CoverageError, "bad.tif"),
    "no overlap": (CoverageError, "images"),
    "one image": (ConfigError, "images"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_one_line_and_leaves_nothing(name: str, two_tiles: dict[str, Any], tmp_path: Path):
    kind, named = BAD_INPUTS[name]
    images = spoiled(name, [image["path"] for image in two_tiles["images"]], tmp_path)
    area = build(AreaOptions, two_tiles["area"], "test")
    with pytest.raises(RsmvsError) as refused:
        index_views([ImageOptions(path=path) for path in images], area, tmp_path / "out" / "views.json")
    assert type(refused.value) is kind
    line = str(refused.value)
    assert "\n" not in line and named in line.split(": ")[0] and refused.value.cause and refused.value.remedy
    assert not list(tmp_path.glob("out/*"))


def test_bad_input_ends_the_run_with_its_line_last(two_tiles: dict[str, Any], tmp_path: Path):
    paths = spoiled("truncated", [image["path"] for image in two_tiles["images"]], tmp_path)
    said = run(write_config(tmp_path, two_tiles, images=[{"path": path} for path in paths]))
    assert said.returncode == 1
    assert re.fullmatch(r"error: \S*bad\.tif: (is truncated|cannot be read) [^\n]*; [^\n]*\n", said.stderr)
    assert not (tmp_path / "out" / "views.json").exists() and not (tmp_path / "out" / "products").exists()
