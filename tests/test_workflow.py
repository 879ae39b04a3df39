"""The workflow as a whole, on the smallest simulated scene: what runs again and when, kills, bad input."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml

from rsmvs.config import build
from rsmvs.errors import CameraError, ConfigError, CoverageError, ImageError, RsmvsError
from rsmvs.io.raster import opened, read_band, write_raster
from rsmvs.io.rpc_files import find_camera, tags_from_rpc
from rsmvs.options import AreaOptions, ImageOptions
from rsmvs.stages.views import index_views

DESCRIBING = ("catalogue_scene", "report_scene")  # they tell of the configuration itself
RSMVS = [sys.executable, "-m", "rsmvs.cli"]


def write_config(folder: Path, values: dict[str, Any], name: str = "my.yaml", **sections: Any) -> Path:
    """A configuration in `folder` whose output is `folder`/out; `sections` replace those of `values`."""
    path = folder / name
    path.write_text(yaml.safe_dump({**values, **sections, "output": str(folder / "out")}))
    return path


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RSMVS, "run", str(config), "--cores", "2", *arguments], capture_output=True, text=True, check=False)


def pending(config: Path, *arguments: str) -> dict[str, int]:
    """Jobs per rule that a dry run announces, without those that only describe the run."""
    said = run(config, "-n", *arguments)
    assert said.returncode == 0, said.stderr
    table = re.findall(r"^(\w+) +(\d+)$", said.stdout, re.MULTILINE)
    return {rule: int(number) for rule, number in table if rule not in ("total", "all", *DESCRIBING)}


def products(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "out" / "products").iterdir())}


@pytest.fixture(scope="module")
def values(tiny_values: dict[str, Any]) -> dict[str, Any]:
    """Two tiles, side by side, of the tiny scene, as a user has it who knows cameras and heights: no tie points.

    With tie points every image moves all cameras a little, and all tiles would have to run again for each new one.
    """
    area, heights = tiny_values["area"], read_band(tiny_values["reference"]["dsm"])[0]
    xmin, ymin, xmax, _ = area["aoi"]
    known = {
        "aoi": [xmin, ymin, xmax, ymin + area["tile_size"]],
        "height_range": [float(np.nanmin(heights)) - 5, float(np.nanmax(heights)) + 5],
    }
    return {**tiny_values, "area": {**area, **known}, "adjust": {"mode": "none"}, "match": {"min_matches": 10000}}


@pytest.fixture(scope="module")
def finished(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with my.yaml and its finished run. Tests leave its products as they are."""
    folder = tmp_path_factory.mktemp("finished")
    said = run(write_config(folder, values))
    assert said.returncode == 0, said.stderr
    return folder


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
    section: str, key: str, value: Any, first: set[str], finished: Path, values: dict[str, Any]
):
    changed = {**values.get(section, {}), key: value}
    jobs = pending(write_config(finished, values, f"{section}.yaml", **{section: changed}))
    if not first:
        assert jobs == {}
        return
    place = CHAIN.index(*first)
    assert set(jobs) >= set(CHAIN[place:]) and not set(jobs) & set(CHAIN[:place])
    assert ("mosaic_scene" in jobs) == (first != {"evaluate"})


def test_an_equal_plan_runs_no_tile_again(copied: Path, values: dict[str, Any]):
    config = write_config(copied, values, select={"max_days": 59.0})  # all views are of one day: the plans stay the same
    assert "predict_heights" in pending(config)  # what a single pass would do
    assert run(config, "--target", "plan").returncode == 0
    assert pending(config) == {}


def test_a_new_image_runs_the_tiles_it_touches(copied: Path, values: dict[str, Any], tmp_path: Path):
    crop(values["images"][0]["path"], tmp_path / "part.tif", 0.0, 0.3)  # its western part: one of the two tiles
    images = [*values["images"], {"path": str(tmp_path / "part.tif"), "date": values["images"][0]["date"]}]
    config = write_config(copied, values, images=images)
    assert run(config, "--target", "plan").returncode == 0
    jobs = pending(config)
    assert jobs["predict_heights"] == jobs["filter_heights"] == jobs["fuse_tile"] == 1
    assert jobs["mosaic_scene"] == 1


def test_a_larger_area_keeps_the_tiles_it_has(copied: Path, values: dict[str, Any]):
    xmin, ymin, xmax, ymax = values["area"]["aoi"]
    larger = {**values["area"], "aoi": [xmin, ymin, xmax + values["area"]["tile_size"], ymax]}
    config = write_config(copied, values, area=larger)
    assert run(config, "--target", "plan").returncode == 0
    assert pending(config)["predict_heights"] == 1


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
def test_many_kills_end_in_the_same_bytes(finished: Path, values: dict[str, Any], tmp_path: Path):
    for k in range(20):
        folder = tmp_path / str(k)
        folder.mkdir()
        after = random.Random(k).uniform(0.3, 12.0)
        assert killed_and_resumed(write_config(folder, values), folder, after) == products(finished), f"{after:.2f} s"


def test_kills_and_lost_data_end_in_the_same_bytes(finished: Path, values: dict[str, Any], tmp_path: Path):
    images = [{**image, "path": str(shutil.copy2(image["path"], tmp_path))} for image in values["images"]]
    config = write_config(tmp_path, values, images=images)

    launcher = subprocess.Popen([*RSMVS, "run", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "out" / "views.json").exists():
        time.sleep(0.05)
    launcher.kill()  # alone: Snakemake must not live on and hold the folder
    launcher.wait()
    assert run(config, "--target", "plan").returncode == 0

    victim = Path(images[0]["path"])
    whole, times = victim.read_bytes(), victim.stat()
    victim.write_bytes(whole[: len(whole) // 2])  # after it was checked
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = run(config)
    ledger = json.loads((tmp_path / "out" / "products" / "ledger.json").read_text())
    assert ledger["counts"]["failed"] == 2 and all(victim.name in tile["reason"] for tile in ledger["tiles"].values())
    assert said.returncode == 1 and "2 failed" in said.stdout and said.stderr.startswith("error: more tiles failed")

    victim.write_bytes(whole)
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = random.Random().uniform(1.0, 10.0)  # failed tiles are tried again, and killed at any moment
    assert killed_and_resumed(config, tmp_path, after) == products(finished), f"killed after {after:.2f} s"


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
def test_bad_input_is_one_line_and_leaves_nothing(name: str, values: dict[str, Any], tmp_path: Path):
    kind, named = BAD_INPUTS[name]
    images = spoiled(name, [image["path"] for image in values["images"]], tmp_path)
    area = build(AreaOptions, values["area"], "test")
    with pytest.raises(RsmvsError) as refused:
        index_views([ImageOptions(path=path) for path in images], area, tmp_path / "out" / "views.json")
    assert type(refused.value) is kind
    line = str(refused.value)
    assert "\n" not in line and named in line.split(": ")[0] and refused.value.cause and refused.value.remedy
    assert not list(tmp_path.glob("out/*"))


def test_bad_input_ends_the_run_with_its_line_last(values: dict[str, Any], tmp_path: Path):
    paths = spoiled("truncated", [image["path"] for image in values["images"]], tmp_path)
    said = run(write_config(tmp_path, values, images=[{"path": path} for path in paths]))
    assert said.returncode == 1
    assert re.fullmatch(r"error: \S*bad\.tif: (is truncated|cannot be read) [^\n]*; [^\n]*\n", said.stderr)
    assert not (tmp_path / "out" / "views.json").exists() and not (tmp_path / "out" / "products").exists()
