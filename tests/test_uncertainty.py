"""The uncertainty of heights against errors that are put in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import shift
from tile_scene import planned_tile

from rsmvs.evaluation.metrics import Calibration
from rsmvs.fusion.outliers import off_surface
from rsmvs.fusion.uncertainty import height_sigma
from rsmvs.io.pointcloud import NOISE, Points, read_points
from rsmvs.io.raster import read_band
from rsmvs.options import RefineOptions
from rsmvs.stages.heights import filter_heights, fuse_tile, predict_heights


def test_on_flat_ground_the_matcher_and_the_views_count() -> None:
    flat, views = np.full((20, 20), 100.0, np.float32), np.full((20, 20), 4)
    views[10:] = 1
    sigma = height_sigma(flat, np.full(flat.shape, 0.6), views)
    assert sigma[5, 5] == pytest.approx(0.3, rel=1e-5)  # a mean of four
    assert sigma[15, 5] == pytest.approx(0.6, rel=1e-5)


def test_walls_are_less_certain_and_holes_have_none() -> None:
    surface = np.full((30, 30), 100.0, np.float32)
    surface[:, 15:] = 112.0
    surface[5, 5] = np.nan
    sigma = height_sigma(surface, np.full(surface.shape, 0.12), np.full(surface.shape, 3))
    assert np.isnan(sigma[5, 5]) and np.isfinite(sigma).sum() == sigma.size - 1
    assert sigma[20, 14] == pytest.approx(3.0, abs=0.01)  # 12 m over four cells, one cell of doubt
    assert sigma[20, 25] < 0.1


def test_filled_cells_are_less_certain() -> None:
    flat, matched, views = np.full((9, 9), 50.0), np.full((9, 9), 0.15), np.full((9, 9), 3)
    matched[4, 4], views[4, 4] = np.nan, 0
    sigma = height_sigma(flat, matched, views)
    assert sigma[4, 4] > 5 * sigma[0, 0]
    assert np.isnan(height_sigma(np.full((3, 3), np.nan), matched[:3, :3], views[:3, :3])).all()


def test_errors_of_interval_and_place_are_covered() -> None:
    """Hills seen about a cell off, in a direction of their own each, and rounded to the interval in three views."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(60.0), np.arange(60.0))
    errors = Calibration()
    for _ in range(80):
        truth = rng.uniform(0, 12) * np.sin(x / 9 + rng.uniform(0, 6)) * np.cos(y / 11)
        found = shift(truth, rng.normal(0, 1.0, 2), order=1, mode="nearest")
        found += rng.uniform(-0.4, 0.4, (3, *truth.shape)).mean(axis=0)
        sigma = height_sigma(found, np.full(truth.shape, 0.8 / np.sqrt(12)), np.full(truth.shape, 3))
        errors.feed((found - truth)[6:-6, 6:-6], sigma[6:-6, 6:-6])
    figures = errors.result()
    assert 60 < figures["within_1"] < 90
    assert figures["within_2"] > 92


def test_a_surface_holds_what_is_near_and_all_of_a_wall() -> None:
    surface = np.full((20, 20), 100.0, np.float32)
    surface[:, 10:] = 112.0
    surface[4, 4] = np.nan
    row, col = np.array([15, 15, 15, 15, 15, 4, 15]), np.array([3, 3, 3, 9, 9, 4, 10])
    height = np.array([100.9, 101.1, 98.9, 106.0, 113.1, 100.0, 100.0])  # ground, above, below, wall, over it, no cell, foot
    assert off_surface(height, row, col, surface, 1.0).tolist() == [False, True, True, False, True, True, False]


@pytest.fixture(scope="module")
def cloud(tiny_scene: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Points, np.ndarray, np.ndarray]:
    """Points of a tile of the tiny scene with their noise; height and sigma of the cells of the surface that they lie on."""
    folder = tmp_path_factory.mktemp("cloud")
    config, plan = planned_tile(tiny_scene, folder)
    index, consistent, ledger = (plan.parent / n for n in ("heights/index.json", "consistent/index.json", "ledger.json"))
    predict_heights(plan, config.area, config.heights, index)
    filter_heights(index, plan, config.filter, consistent)
    options = replace(config.fuse, refine=RefineOptions(weights="none"), outliers="mark")
    fuse_tile(consistent, plan, config.area, options, ledger)
    points = read_points(plan.parent / "points.laz")[0]
    values = []
    for name in ("dsm", "sigma"):
        raster, transform, _ = read_band(plan.parent / f"{name}.tif")
        col, row = (np.floor(v).astype(int) for v in ~transform * (points.xyz[:, 0], points.xyz[:, 1]))
        row, col = row.clip(0, raster.shape[0] - 1), col.clip(0, raster.shape[1] - 1)  # millimetres may lie outside
        values.append(raster[row, col])
    return points, *values


def test_points_lie_on_the_surface_or_are_noise(cloud: tuple[Points, np.ndarray, np.ndarray]) -> None:
    points, height, sigma = cloud
    good = points.classification != NOISE
    assert np.isfinite(height[good]).all() and good.sum() > 2000
    wanted = np.hypot(sigma, points.xyz[:, 2] - height)
    assert (np.abs(points.sigma_z[good] - wanted[good]) < 2e-3).mean() > 0.99  # millimetres put a few into the next cell
    assert (points.confidence[good] > 0).all()
    off = np.abs(points.xyz[:, 2] - height) > 1.0
    assert off[good].mean() < 0.01 < off[~good].mean()  # those left are on walls


def test_points_tell_one_sigma_of_their_heights(cloud: tuple[Points, np.ndarray, np.ndarray], tiny_scene: Path) -> None:
    """A clean scene: more of the errors lie within than on autzen (68 and 93 %), but not the 99 % that the interval between the
    matcher's planes holds, which is no sigma."""
    points = cloud[0]
    truth, transform, _ = read_band(tiny_scene / "truth" / "dsm.tif")
    good = points.classification != NOISE
    col, row = (np.floor(v).astype(int) for v in ~transform * (points.xyz[good, 0], points.xyz[good, 1]))
    errors = np.abs(points.xyz[good, 2] - truth[row, col])
    within = [(errors < k * points.sigma_z[good]).mean() for k in (1, 2)]
    assert 0.85 < within[0] < 0.97 < within[1]
