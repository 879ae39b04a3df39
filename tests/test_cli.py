"""The command line: what it prints, what it writes, and its one-line errors."""

from __future__ import annotations

import copy
import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from shapely.geometry import box

from rsmvs.cli import COMMANDS, main
from rsmvs.config import load_config, tiles
from rsmvs.stages.views import index_views


def error_line(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a refused command leaves."""
    assert main([str(a) for a in arguments]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and ";" in lines[0]
    return lines[0]


def test_help_names_every_command_and_loads_nothing_heavy():
    code = "import sys, rsmvs.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: print(sorted(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert all(f"    {name} " in said for name in COMMANDS)
    assert not {"numpy", "torch", "rasterio", "snakemake"} & set(said.replace("'", " ").replace(",", " ").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0 and f"rsmvs {name}" in capsys.readouterr().out


def test_init_finds_area_crs_and_resolution(tiny_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "my.yaml"
    images = sorted(str(p) for p in (tiny_scene / "images").glob("v0?.tif"))
    assert main(["init", *images, "--reference", str(tiny_scene / "truth" / "dsm.tif"), "-o", str(out)]) == 0
    assert "3 images" in capsys.readouterr().out
    config, truth = load_config(out), load_config(tiny_scene / "config.yaml")
    assert config.area.crs == truth.area.crs and config.area.resolution == 0.5
    assert config.reference.dsm == truth.reference.dsm
    assert [Path(i.path) for i in config.images] == [Path(i.path) for i in truth.images]
    found, true = box(*config.area.aoi), box(*truth.area.aoi)  # the images show a margin around the true area
    assert found.contains(true.buffer(-2)) and found.area < 6 * true.area
    assert tiles(config)
    assert "exists" in error_line(capsys, "init", *images, "-o", out)


def test_init_takes_area_and_resolution_from_the_user(tiny_scene: Path, tmp_path: Path):
    west, south, east, north = 11.0, 46.0, 11.01, 46.01
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    (tmp_path / "aoi.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    images = sorted(str(p) for p in (tiny_scene / "images").glob("v0?.tif"))
    arguments = ["init", *images, "--aoi", str(tmp_path / "aoi.geojson"), "--gsd", "0.8", "-o", str(tmp_path / "my.yaml")]
    assert main(arguments) == 0
    area = load_config(tmp_path / "my.yaml").area
    assert area.aoi is None and area.aoi_file == str((tmp_path / "aoi.geojson").resolve()) and area.resolution == 0.8


def test_init_finds_the_common_ground_of_a_real_pair(shared_data: Path, tmp_path: Path):
    pair = [str(shared_data / "kahramanmaras" / f"post_event_img{i}.tif") for i in (1, 2)]
    assert main(["init", *pair, "-o", str(tmp_path / "my.yaml")]) == 0
    area = load_config(tmp_path / "my.yaml").area
    assert area.crs == "EPSG:32637" and area.resolution == 0.5
    surface = box(315149.5, 4161547.5, 315676.0, 4162054.0)  # extent of a surface that another program made of the pair
    found = box(*area.aoi)
    assert found.intersection(surface).area > 0.95 * found.union(surface).area


def test_what_init_writes_passes_the_checks_of_the_workflow(tiny_scene: Path, tmp_path: Path):
    images = sorted(str(p) for p in (tiny_scene / "images").glob("v0?.tif"))
    assert main(["init", *images, "-o", str(tmp_path / "my.yaml")]) == 0
    config = load_config(tmp_path / "my.yaml")
    index_views(config.images, config.area, tmp_path / "views.json")
    assert len(json.loads((tmp_path / "views.json").read_text())["views"]) == 3


def test_inspect_tells_camera_gsd_and_angles(tiny_scene: Path, capsys: pytest.CaptureFixture[str]):
    image = tiny_scene / "images" / "v01.tif"
    assert main(["inspect", str(image)]) == 0
    said = capsys.readouterr().out
    assert "rpc" in said and "0.5" in said and "13.0" in said  # the scene's second view looks 13 degrees off the vertical


def test_inspect_goes_on_after_a_bad_image(tiny_scene: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", "nowhere.tif", str(tiny_scene / "images" / "v00.tif")]) == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: nowhere.tif: ") and "v00.tif" in said.out


def test_evaluate_of_the_truth_is_perfect(tiny_scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    truth = str(tiny_scene / "truth" / "dsm.tif")
    assert main(["evaluate", truth, "--reference", truth, "--json", str(tmp_path / "m.json")]) == 0
    figures = json.loads((tmp_path / "m.json").read_text())["raw"]
    assert figures["completeness"] == 100.0 and figures["rmse"] == 0.0 and figures["pag_1.0"] == 100.0
    assert "completeness" in capsys.readouterr().out


BAD_CONFIGS = {
    "unknown key": (lambda c: c["area"].update(tile=5), "area.tile"),
    "empty area": (lambda c: c["area"].update(aoi=[10, 0, 10, 0]), "area.aoi"),
    "missing image": (lambda c: c["images"].append({"path": "nowhere.tif"}), "nowhere.tif"),
    "missing reference": (lambda c: c["reference"].update(dsm="nowhere.tif"), "reference.dsm"),
    "two images of one name": (lambda c: c["images"].append(dict(c["images"][0])), "images[3].id"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_run_refuses_a_bad_configuration_before_it_writes(
    name: str, tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    spoil, named = BAD_CONFIGS[name]
    values = copy.deepcopy(tiny_values)
    spoil(values)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(values | {"output": "out"}))
    assert named in error_line(capsys, "run", tmp_path / "my.yaml")
    assert not (tmp_path / "out").exists()


def test_run_without_a_configuration_says_how_to_get_one(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert "rsmvs init" in error_line(capsys, "run", tmp_path / "nowhere.yaml")


def test_two_runs_do_not_share_a_folder(
    tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("rsmvs.cli.workflow._WAIT", 0.2)
    folder, config = tmp_path / "out", tmp_path / "my.yaml"
    folder.mkdir()
    config.write_text(yaml.safe_dump(tiny_values | {"output": str(folder)}))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run" in error_line(capsys, "run", config)
    assert [p.name for p in folder.iterdir()] == [".lock"]
