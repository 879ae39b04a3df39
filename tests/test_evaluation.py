"""Figures by construction: known offsets, known confusion matrices, a surface against itself, a surface moved."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyproj
import pytest
import surface_pair
from scipy.ndimage import gaussian_filter

from rsmvs.cli import main
from rsmvs.errors import ConfigError, CoverageError, ImageError
from rsmvs.evaluation.alignment import bilinear
from rsmvs.evaluation.metrics import Calibration, ClassErrors, HeightErrors, Volumes
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import DATUM_NAMES, product_crs, raster_wkt
from rsmvs.io.pointcloud import Points, write_points
from rsmvs.io.raster import NODATA, write_raster
from rsmvs.options import ReferenceOptions
from rsmvs.stages.evaluation import evaluate, evaluate_classes

GRID = Grid(315000.0, 4162100.0, 0.5, 400, 300)
CRS = "EPSG:32637"


def _town(grid: Grid, east: float = 0.0, north: float = 0.0) -> np.ndarray:
    """Analytic terrain with box buildings and soft mounds, moved by (east, north) metres; float32 (h, w)."""
    x = grid.x0 + (np.arange(grid.width) + 0.5) * grid.step - east - 315000.0
    y = grid.y0 - (np.arange(grid.height) + 0.5) * grid.step - north - 4162000.0
    x, y = np.meshgrid(x, y)
    heights = 900 + 0.02 * x + 2 * np.sin(x / 17) * np.cos(y / 13)
    heights += 8.0 * ((x % 23 < 9) & (y % 19 < 8)) + 5.0 * ((x % 31 > 22) & (y % 29 > 20))
    return heights.astype(np.float32)


def _write(path: Path, values: np.ndarray, grid: Grid = GRID, crs: str = CRS) -> str:
    write_raster(path, [values], grid=grid, crs=crs, nodata=NODATA if values.dtype.kind == "f" else None)
    return str(path)


def test_errors_of_known_values_are_exact() -> None:
    errors = HeightErrors()
    errors.feed([1.0, -1.0, 0.5, 3.0, np.nan])
    found = errors.result()
    assert (found["truth_cells"], found["cells"], found["completeness"]) == (5, 4, 80.0)
    assert found["mae"] == pytest.approx(5.5 / 4)
    assert found["rmse"] == pytest.approx(np.sqrt(11.25 / 4), abs=1e-4)
    assert found["median"] == pytest.approx(0.75)
    assert found["nmad"] == pytest.approx(1.4826 * 1.0, abs=1e-4)  # |e - 0.75| = 0.25 1.75 0.25 2.25
    # the threshold itself is not within; the missing cell counts as wrong
    assert (found["pag_1.0"], found["pag_2.5"], found["pag_7.5"]) == (20.0, 60.0, 80.0)


def test_errors_agree_with_numpy_for_any_order_of_blocks() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(0.3, 0.8, 40_000), rng.uniform(-300, 300, 500), [np.nan] * 200])
    known = values[np.isfinite(values)]
    one, other = HeightErrors(), HeightErrors()
    one.feed(values)
    for block in reversed(np.array_split(values, 7)):
        other.feed(block)
    assert one.result(0.4) == other.result(0.4)
    found, moved = one.result(0.4), known + 0.4
    assert found["mae"] == pytest.approx(np.abs(moved).mean(), abs=1e-4)
    assert found["rmse"] == pytest.approx(np.sqrt((moved**2).mean()), abs=1e-4)
    assert found["median"] == pytest.approx(np.median(moved), abs=1e-3)
    assert found["nmad"] == pytest.approx(1.4826 * np.median(np.abs(moved - np.median(moved))), abs=2e-3)
    assert found["le90"] == pytest.approx(np.quantile(np.abs(moved), 0.9), abs=2e-3)
    assert found["pag_2.5"] == pytest.approx(100 * (np.abs(moved) < 2.5).sum() / values.size, abs=0.02)


def test_errors_without_any_cell() -> None:
    errors = HeightErrors()
    errors.feed([np.nan, np.nan])
    assert errors.result()["completeness"] == 0.0
    assert errors.result()["pag_1.0"] == 0.0
    assert errors.result()["mae"] is None


def test_class_figures_of_a_known_confusion_matrix() -> None:
    # truth 2: 6 right, 2 called 6; truth 6: 3 right, 1 called 2, 1 called nothing; truth 65 does not count
    truth = np.array([2] * 8 + [6] * 5 + [65] * 4)
    predicted = np.array([2] * 6 + [6] * 2 + [6] * 3 + [2, 0] + [6] * 4)
    height = np.zeros(truth.shape)
    height[:2] = 2.0  # right class, wrong by 2 m
    height[8] = np.nan  # right class, no height
    errors = ClassErrors((2, 6, 9))
    errors.feed(predicted[:7], truth[:7], height[:7])
    errors.feed(predicted[7:], truth[7:], height[7:])
    found = errors.result()
    assert found["confusion"] == [[6, 2, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0]]
    assert found["iou"][:2] == [round(100 * 6 / 9, 4), round(100 * 3 / 7, 4)]
    assert found["miou"] == pytest.approx(100 * (6 / 9 + 3 / 7) / 2, abs=1e-3)  # class 9 occurs nowhere
    precision, recall = np.array([6 / 7, 3 / 5]), np.array([6 / 8, 3 / 5])
    assert found["mean_f1"] == pytest.approx(100 * (2 * precision * recall / (precision + recall)).mean(), abs=1e-3)
    assert found["miou3_1.0"]["lenient"] == pytest.approx(100 * (4 / 7 + 2 / 6) / 2, abs=1e-3)
    assert found["miou3_1.0"]["strict"] == pytest.approx(100 * (4 / 9 + 2 / 7) / 2, abs=1e-3)
    assert found["miou3_2.5"]["strict"] == pytest.approx(100 * (6 / 9 + 2 / 7) / 2, abs=1e-3)


def test_a_class_map_against_itself_is_perfect() -> None:
    labels = np.random.default_rng(0).choice([2, 5, 6], (40, 50))
    errors = ClassErrors((2, 5, 6, 9))
    errors.feed(labels, labels, np.zeros(labels.shape))
    found = errors.result()
    assert found["miou"] == found["mean_f1"] == found["miou3_1.0"]["strict"] == 100.0


def test_honest_sigmas_are_called_so() -> None:
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.05, 3.5, 200_000)
    honest, shy = Calibration(), Calibration()
    honest.feed(rng.normal(0, sigma), sigma)
    shy.feed(rng.normal(0, sigma), 0.5 * sigma)
    found = honest.result()
    assert found["within_1"] == pytest.approx(68.27, abs=0.5)
    assert found["within_2"] == pytest.approx(95.45, abs=0.3)
    assert all(b["rmse"] == pytest.approx(b["sigma"], rel=0.1) for b in found["bins"])
    assert shy.result()["within_1"] == pytest.approx(38.3, abs=0.5)


def test_volumes_of_boxes() -> None:
    """Truth: 100 cells of 10 m. Found: 80 of them 12 m high, and 20 elsewhere 5 m high."""
    truth, surface = np.zeros(200), np.zeros(200)
    truth[:100], surface[20:100], surface[150:170] = 10.0, 12.0, 5.0
    whole, halves = Volumes(), Volumes()
    whole.feed(surface, truth, surface > 2, truth > 2)
    for part in (slice(0, 90), slice(90, 200)):
        halves.feed(surface[part], truth[part], surface[part] > 2, truth[part] > 2)
    found = whole.result()
    assert found == halves.result()
    assert found["area"] == {"completeness": 80.0, "correctness": 80.0, "iou": round(100 * 80 / 120, 4)}
    assert found["volume"]["completeness"] == 80.0
    assert found["volume"]["correctness"] == pytest.approx(100 * 800 / 1060, abs=1e-4)
    assert found["volume"]["iou"] == pytest.approx(100 * 800 / (1060 + 1000 - 800), abs=1e-4)


def test_what_stands_on_the_terrain(tmp_path: Path) -> None:
    ground = np.full(GRID.shape, 900.0, np.float32)
    truth = ground.copy()
    truth[50:100, 50:150] = 910.0
    paths = [_write(tmp_path / n, v) for n, v in (("t.tif", truth), ("g.tif", ground), ("d.tif", truth - 1.0))]
    found = evaluate(paths[2], ReferenceOptions(dsm=paths[0], dtm=paths[1], max_shift=0))
    assert found["standing"]["area"]["iou"] == found["standing"]["volume"]["iou"] == 100.0  # 1 m is a shift


def test_bilinear_is_exact_on_a_plane_and_at_centres() -> None:
    rows, cols = np.indices((20, 30), dtype=np.float64)
    plane = 3 + 0.5 * cols - 0.25 * rows
    col, row = np.array([3.25, 7.0, 28.9]), np.array([4.75, 9.0, 0.1])
    np.testing.assert_allclose(bilinear(plane, col, row), 3 + 0.5 * col - 0.25 * row, atol=1e-12)
    plane[9, 7] = np.nan
    assert np.isnan(bilinear(plane, np.array([7.0]), np.array([9.0])))[0]
    assert np.isfinite(bilinear(plane, np.array([7.5]), np.array([9.5])))[0]  # three of four neighbours


def test_truth_against_itself(tmp_path: Path) -> None:
    path = _write(tmp_path / "truth.tif", _town(GRID))
    found = evaluate(path, ReferenceOptions(dsm=path), tmp_path / "metrics.json")
    assert found["shift"] == {"dx": 0.0, "dy": 0.0, "dz": 0.0}
    for kind in ("raw", "aligned"):
        assert found[kind]["rmse"] == 0.0
        assert found[kind]["pag_1.0"] == found[kind]["completeness"] == 100.0
    assert json.loads((tmp_path / "metrics.json").read_text()) == found


def test_a_moved_surface_is_found_and_told_raw_and_aligned(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = _write(tmp_path / "truth.tif", _town(GRID))
    dsm = _town(GRID, east=1.5, north=-2.0) + 1.75 + rng.normal(0, 0.1, GRID.shape).astype(np.float32)
    dsm[100:130] = np.nan
    found = evaluate(_write(tmp_path / "dsm.tif", dsm), ReferenceOptions(dsm=truth))
    assert (found["shift"]["dx"], found["shift"]["dy"]) == (-1.5, 2.0)
    assert found["shift"]["dz"] == pytest.approx(-1.75, abs=0.01)
    assert found["raw"]["pag_1.0"] < 10 < 85 < found["aligned"]["pag_1.0"]
    assert found["aligned"]["rmse"] < 0.12
    assert found["raw"]["completeness"] == 90.0


def test_other_grid_and_crs_of_the_surface(tmp_path: Path) -> None:
    truth = _write(tmp_path / "truth.tif", _town(GRID))
    import rasterio
    from rasterio.warp import reproject

    with rasterio.open(truth) as src:
        step = 3e-6
        box = rasterio.warp.transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        shape = (round((box[3] - box[1]) / step), round((box[2] - box[0]) / step))
        out = np.full(shape, np.nan, np.float32)
        transform = rasterio.transform.from_origin(box[0], box[3], step, step)
        reproject(src.read(1), out, src_transform=src.transform, src_crs=src.crs, dst_transform=transform,
                  dst_crs="EPSG:4326", dst_nodata=np.nan, resampling=rasterio.enums.Resampling.bilinear)  # fmt: skip
    with rasterio.open(tmp_path / "ll.tif", "w", driver="GTiff", width=shape[1], height=shape[0], count=1, dtype="float32",
                       crs="EPSG:4326", transform=transform, nodata=np.nan) as dst:  # fmt: skip
        dst.write(out, 1)
    found = evaluate(tmp_path / "ll.tif", ReferenceOptions(dsm=truth))
    assert (found["shift"]["dx"], found["shift"]["dy"]) == (0.0, 0.0)
    assert found["raw"]["completeness"] > 98
    assert found["raw"]["nmad"] < 0.05


def test_figures_by_class(tmp_path: Path) -> None:
    truth = _town(GRID)
    labels = np.where(np.arange(GRID.width) < 200, 2, 6).astype(np.uint8) * np.ones((GRID.height, 1), np.uint8)
    dsm = truth + np.where(labels == 6, 3.0, 0.0).astype(np.float32)
    reference = ReferenceOptions(dsm=_write(tmp_path / "t.tif", truth), classes=_write(tmp_path / "c.tif", labels), max_shift=0)
    predicted = labels.copy()
    predicted[:, 150:200] = 6  # a quarter of the ground is called building
    found = evaluate(_write(tmp_path / "d.tif", dsm), reference, classes=_write(tmp_path / "p.tif", predicted))
    offsets = {name: found["by_class"][name]["median"] - found["shift"]["dz"] for name in ("ground", "building")}
    assert offsets["ground"] == pytest.approx(0, abs=2e-3)
    assert offsets["building"] == pytest.approx(3.0, abs=2e-3)
    assert found["classes"]["miou"] == pytest.approx(100 * (150 / 200 + 200 / 250) / 2, abs=1e-3)


@pytest.mark.parametrize("crs", [CRS, "EPSG:32636"])
def test_lidar_points_are_a_reference(tmp_path: Path, crs: str) -> None:
    """Two points a cell, the upper one on the surface; in another zone too."""
    dsm = _write(tmp_path / "dsm.tif", _town(GRID) + np.float32(0.25))
    rows, cols = np.indices(GRID.shape)
    x, y = GRID.x0 + (cols.ravel() + 0.5) * GRID.step, GRID.y0 - (rows.ravel() + 0.5) * GRID.step
    if crs != CRS:
        x, y = pyproj.Transformer.from_crs(CRS, crs, always_xy=True).transform(x, y)
    top = _town(GRID).ravel().astype(np.float64)
    xyz = np.concatenate([np.stack([x, y, z], 1) for z in (top, top - 3, top + 50)])
    n = len(xyz)
    classes = np.repeat(np.array([1, 2, 7], np.uint8), len(top))  # the highest are noise
    ones = np.ones(n, np.float32)
    cloud = Points(xyz, classes, np.zeros(n, np.uint16), np.ones(n, np.uint8), ones, ones)
    write_points(tmp_path / "lidar.laz", cloud, corner=(float(x.min()), float(y.min())), crs=product_crs(crs))
    found = evaluate(dsm, ReferenceOptions(dsm=str(tmp_path / "lidar.laz"), max_shift=0))
    assert found["raw"]["median"] == pytest.approx(0.25, abs=2e-3)
    assert found["raw"]["completeness"] == 100.0
    assert found["raw"]["truth_cells"] > 0.99 * GRID.width * GRID.height
    assert found["raw"]["le90"] < 0.26
    far = _write(tmp_path / "far.tif", _town(GRID), Grid(415000.0, 4162100.0, 0.5, 40, 30))
    with pytest.raises(CoverageError, match="no point"):
        evaluate(far, ReferenceOptions(dsm=str(tmp_path / "lidar.laz")))


def _classified(path: Path, classes: np.ndarray, crs: str = CRS) -> str:
    """A cloud with a point of each class of `classes` (k, h, w) at each cell, each layer 3 m above the one before."""
    rows, cols = np.indices(GRID.shape)
    x, y = GRID.x0 + (cols.ravel() + 0.5) * GRID.step, GRID.y0 - (rows.ravel() + 0.5) * GRID.step
    top = _town(GRID).ravel().astype(np.float64)
    layers = [np.stack([x, y, top - 3.0 * (len(classes) - 1 - k)], 1) for k in range(len(classes))]
    xyz, labels = np.concatenate(layers), np.concatenate([c.ravel() for c in classes]).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(xyz))
    ones = np.ones(len(xyz), np.float32)
    cloud = Points(xyz[order], labels[order], np.zeros(len(xyz), np.uint16), np.ones(len(xyz), np.uint8), ones, ones)
    write_points(path, cloud, corner=(GRID.x0, GRID.y0 - GRID.height * GRID.step), crs=product_crs(crs))
    return str(path)


def test_classes_of_lidar_points_are_a_reference(tmp_path: Path) -> None:
    """Ground under trees (medium vegetation) in the west and under roofs in the east: the upper class counts."""
    east = np.arange(GRID.width) >= 200
    upper = np.where(east, 6, 4) * np.ones((GRID.height, 1), int)
    cloud = _classified(tmp_path / "lidar.laz", np.stack([np.full(GRID.shape, 2), upper]))
    dsm = _write(tmp_path / "dsm.tif", _town(GRID) + np.where(east, 2.0, 0.0).astype(np.float32))
    found_map = np.where(np.arange(GRID.width) >= 100, 6, 5).astype(np.uint8) * np.ones((GRID.height, 1), np.uint8)
    classes = _write(tmp_path / "classes.tif", found_map)
    found = evaluate(dsm, ReferenceOptions(dsm=cloud, max_shift=0.0), classes=classes)
    assert set(found["by_class"]) == {"foliage", "building"}
    assert found["by_class"]["building"]["median"] - found["by_class"]["foliage"]["median"] == pytest.approx(2.0, abs=3e-3)
    expected = [100 * 100 / 200, 100 * 200 / 300]  # foliage, building: 100 columns of trees are called roofs
    for told in (found["classes"], evaluate_classes(classes, cloud)["classes"]):
        assert [told["iou"][told["names"].index(n)] for n in ("foliage", "building")] == pytest.approx(expected, abs=1e-3)
    assert "miou3_1.0" in found["classes"] and "miou3_1.0" not in evaluate_classes(classes, cloud)["classes"]
    plain = _classified(tmp_path / "plain.laz", np.ones((1, *GRID.shape), int))
    assert "by_class" not in evaluate(dsm, ReferenceOptions(dsm=plain, max_shift=0.0))
    with pytest.raises(ConfigError, match="no classified points"):
        evaluate_classes(classes, plain)


def _said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> list[str]:
    """What a command says, its blanks made single."""
    assert main(list(arguments)) == code
    told = capsys.readouterr()
    return [" ".join(line.split()) for line in (told.err if code else told.out).splitlines()]


def test_a_class_map_alone_is_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = np.where(np.arange(GRID.width) < 200, 2, 6).astype(np.uint8) * np.ones((GRID.height, 1), np.uint8)
    found = truth.copy()
    found[:, 150:200] = 6
    paths = [_write(tmp_path / name, values) for name, values in (("truth.tif", truth), ("found.tif", found))]
    out = str(tmp_path / "c.json")
    lines = _said(capsys, "evaluate", "--classes", paths[1], "--reference-classes", paths[0], "--json", out)
    assert "mIoU 77.5" in lines and "ground 75.0 85.7" in lines and "building 80.0 88.9" in lines
    assert json.loads(Path(out).read_text())["classes"]["miou"] == 77.5
    assert "mIoU 77.5" in _said(capsys, "compare", paths[1], paths[0])
    both = _said(capsys, "compare", paths[1], paths[0], "--reference", paths[0])
    assert "mIoU 77.5 100.0" in both and "class IoU A % F1 A % IoU B % F1 B %" in both
    dsm = _write(tmp_path / "dsm.tif", _town(GRID))
    for wrong in (["evaluate"], ["evaluate", dsm], ["evaluate", "--classes", paths[1]], ["compare", dsm, paths[0]]):
        assert _said(capsys, *wrong, code=1)[0].startswith("error: ")


def test_all_figures_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ground, labels = np.full(GRID.shape, 890.0, np.float32), np.full(GRID.shape, 2, np.uint8)
    labels[:, 200:] = 6
    sigma, dsm = np.full(GRID.shape, 0.3, np.float32), _town(GRID) + np.float32(0.2)
    named = {"truth": _town(GRID), "ground": ground, "labels": labels, "sigma": sigma, "dsm": dsm, "other": dsm + 20}
    paths = {name: _write(tmp_path / f"{name}.tif", values) for name, values in named.items()}
    more = ("--reference-classes", paths["labels"], "--max-shift", "0")
    lines = _said(capsys, "evaluate", paths["dsm"], "--reference", paths["truth"], "--classes", paths["labels"], *more,
                  "--reference-dtm", paths["ground"], "--uncertainty", paths["sigma"])  # fmt: skip
    assert "pag_7.5 100.00 100.00 %" in lines and "le90 0.20 0.00 m" in lines
    assert "ground 60,000 100.00 100.00 100.00 0.00 0.00 0.00 0.00" in lines
    assert "aligned: the surface moved by 0.00 m east, 0.00 m north, -0.20 m up" in lines
    steps = lines.index("by slope ° cells compl PAG1 PAG2.5 RMSE NMAD median LE90")
    assert [line.split()[0] for line in lines[steps + 1 : steps + 4]] == ["0-5", "5-20", "40-90"]  # the town has no others
    assert "mIoU3 within 1 m, strict 100.0" in lines and "volume 100.0 100.0 100.0" in lines
    assert "uncertainty: 100.0 % of the errors within one sigma, 100.0 % within two" in lines
    both = _said(capsys, "compare", paths["dsm"], paths["other"], "--reference", paths["truth"], *more)
    assert "figure A raw A aligned B raw B aligned unit" in both and "median 0.20 0.00 20.20 0.00 m" in both
    assert any(line.startswith("aligned: B moved by") and line.endswith("one datum?") for line in both)


@pytest.mark.parametrize("told_by", ["tag", "crs"])
def test_different_vertical_datums_are_told(told_by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = _write(tmp_path / "plain.tif", _town(GRID))
    paths = {}
    for datum in ("ellipsoid", "egm96", "egm2008"):
        crs = CRS if told_by == "tag" else raster_wkt(product_crs(CRS, datum))
        tags = {"VERTICAL_DATUM": DATUM_NAMES[datum]} if told_by == "tag" else {}
        paths[datum] = str(tmp_path / f"{datum}.tif")
        write_raster(paths[datum], [_town(GRID)], grid=GRID, crs=crs, nodata=NODATA, tags=tags)
    assert "note" not in evaluate(paths["egm96"], ReferenceOptions(dsm=plain))  # one of the two does not say
    assert "note" not in evaluate(paths["ellipsoid"], ReferenceOptions(dsm=paths["ellipsoid"]))
    note = evaluate(paths["egm2008"], ReferenceOptions(dsm=paths["egm96"]))["note"]
    assert "count from the EGM2008 geoid, those of the reference from the EGM96 geoid" in note
    assert main(["evaluate", paths["egm96"], "--reference", paths["ellipsoid"]]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "count from the EGM96 geoid, those of the reference from the WGS 84 ellipsoid" in said


def test_bad_input_is_named(tmp_path: Path) -> None:
    empty = _write(tmp_path / "empty.tif", np.full(GRID.shape, np.nan, np.float32))
    good = _write(tmp_path / "good.tif", _town(GRID))
    with pytest.raises(ConfigError, match=r"reference\.dsm"):
        evaluate(good, ReferenceOptions())
    with pytest.raises(CoverageError, match=r"empty\.tif"):
        evaluate(good, ReferenceOptions(dsm=empty), tmp_path / "metrics.json")
    with pytest.raises(ImageError, match=r"nowhere\.tif"):
        evaluate(good, ReferenceOptions(dsm=str(tmp_path / "nowhere.tif")))
    assert not (tmp_path / "metrics.json").exists()
    nothing = evaluate(empty, ReferenceOptions(dsm=good))
    assert nothing["raw"]["completeness"] == nothing["aligned"]["pag_1.0"] == 0.0


def test_agrees_with_the_yardstick_of_the_real_data(shared_data: Path, tmp_path: Path) -> None:
    """On a real surface, moved, with noise and holes: another implementation, given with the data, says the same."""
    import rasterio

    folder = shared_data / "autzen_public"
    rng = np.random.default_rng(5)
    with rasterio.open(folder / "gt" / "dsm.tif") as src:
        truth, transform, crs = src.read(1), src.transform, src.crs
    part = truth[400:1000]
    noise = gaussian_filter(rng.normal(0, 2.0, part.shape), 2.0).astype(np.float32)  # as that of a matcher: not white
    dsm = part + noise + 0.8
    dsm[(part < -9000) | (rng.random(part.shape) < 0.03)] = np.nan
    grid = Grid(transform.c + 1.0, transform.f - 199.5, 0.5, part.shape[1], part.shape[0])
    path = _write(tmp_path / "dsm.tif", dsm, grid, crs)
    command = [sys.executable, folder / "eval_dsm.py", path, folder, "--by-class", "--max-shift", "0"]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    reference = ReferenceOptions(dsm=str(folder / "gt/dsm.tif"), classes=str(folder / "gt/class.tif"), max_shift=0.0)
    ours = evaluate(path, reference)
    for kind in ("raw", "aligned"):
        for name in ("mae", "rmse", "median", "nmad"):
            assert ours[kind][name] == pytest.approx(theirs[kind][name], abs=1e-3), (kind, name)
        for name in ("completeness", "pag_1.0", "pag_2.5"):
            assert ours[kind][name] == pytest.approx(theirs[kind][name], abs=0.03), (kind, name)
    assert ours["by_class"]["building"]["rmse"] == pytest.approx(theirs["by_class"]["building"]["rmse"], abs=0.01)
    moved = evaluate(path, dataclasses.replace(reference, max_shift=3.0))["shift"]
    assert (moved["dx"], moved["dy"]) == (-1.0, -0.5)
    assert moved["dz"] == pytest.approx(-0.8, abs=0.01)


PEERS = json.loads((Path(__file__).parent / "data" / "peers.json").read_text())
"""Figures of xdem and demcompare for `surface_pair`, as measured; made by peer_figures.py."""


def _peers_python() -> Path | None:
    """The Python that has xdem and demcompare: RSMVS_PEERS, or what .ci/install_peers.sh made."""
    python = Path(os.environ.get("RSMVS_PEERS", Path(__file__).parents[1] / "build" / "peers" / "bin" / "python"))
    return python if python.is_file() else None


def _pair(folder: Path) -> tuple[str, str]:
    pair = (("dsm.tif", surface_pair.surface()), ("truth.tif", surface_pair.truth()))
    dsm, truth = (_write(folder / name, values, surface_pair.GRID, surface_pair.CRS) for name, values in pair)
    return dsm, truth


@pytest.mark.parametrize("peer", PEERS)
def test_figures_are_those_of_other_programs(peer: str, tmp_path: Path) -> None:
    """Mean, median, NMAD, RMSE, 90th percentile, by slope, and the shift of Nuth and Kaeaeb's co-registration."""
    dsm, truth = _pair(tmp_path)
    ours, theirs = evaluate(dsm, ReferenceOptions(dsm=truth, max_shift=0.0)), PEERS[peer]
    common = ("mean", "median", "nmad", "rmse")
    assert {k: ours["raw"][k] for k in common} == pytest.approx({k: theirs["raw"][k] for k in common}, abs=1e-3)
    assert list(theirs["by_slope"]) == sorted(ours["by_slope"], key=lambda k: int(k.split("-")[0]))
    for steps, figures in theirs["by_slope"].items():  # the slopes of cells differ a little: theirs are averaged (Horn)
        found = {k: ours["by_slope"][steps][k] for k in common}
        assert found == pytest.approx({k: figures[k] for k in common}, abs=3e-3), steps
    if "percentil_90" in theirs["raw"]:  # of the errors less their mean
        errors = HeightErrors()
        errors.feed(surface_pair.surface().astype(np.float64) - surface_pair.truth())
        centred = errors.result(-errors.result()["mean"])
        assert centred["le90"] == pytest.approx(theirs["raw"]["percentil_90"], abs=2e-3)
    shift = evaluate(dsm, ReferenceOptions(dsm=truth, max_shift=3.0))["shift"]
    for axis in ("dx", "dy"):
        assert shift[axis] == pytest.approx(theirs["shift"][axis], abs=0.125)  # ours is the nearest node of a lattice of 0.25 m
    assert shift["dz"] == pytest.approx(theirs["shift"]["dz"], abs=0.02)


@pytest.mark.skipif(_peers_python() is None, reason="xdem and demcompare: not installed (.ci/install_peers.sh build/peers)")
def test_other_programs_still_say_so(tmp_path: Path) -> None:
    """The figures in data/peers.json are those that the programs give."""
    dsm, truth = _pair(tmp_path)
    script = Path(__file__).with_name("peer_figures.py")
    run = subprocess.run([str(_peers_python()), script, dsm, truth], capture_output=True, text=True, check=True, timeout=300)
    found = json.loads(run.stdout)
    for peer, figures in PEERS.items():
        for group in ("raw", "shift"):
            assert found[peer][group] == pytest.approx(figures[group], abs=2e-3), (peer, group)
        for steps, values in figures["by_slope"].items():
            assert found[peer]["by_slope"][steps] == pytest.approx(values, abs=2e-3), (peer, steps)
