"""The uncertainty of heights against errors that are put in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import shift

from rsmvs.evaluation.metrics import Calibration
from rsmvs.fusion.uncertainty import height_sigma


def test_on_flat_ground_the_interval_and_the_views_count() -> None:
    flat, views = np.full((20, 20), 100.0, np.float32), np.full((20, 20), 4)
    views[10:] = 1
    sigma = height_sigma(flat, np.full(flat.shape, 0.6), views)
    assert sigma[5, 5] == pytest.approx(0.6 / np.sqrt(12) / 2, rel=1e-5)  # a mean of four
    assert sigma[15, 5] == pytest.approx(0.6 / np.sqrt(12), rel=1e-5)


def test_walls_are_less_certain_and_holes_have_none() -> None:
    surface = np.full((30, 30), 100.0, np.float32)
    surface[:, 15:] = 112.0
    surface[5, 5] = np.nan
    sigma = height_sigma(surface, np.full(surface.shape, 0.4), np.full(surface.shape, 3))
    assert np.isnan(sigma[5, 5]) and np.isfinite(sigma).sum() == sigma.size - 1
    assert sigma[20, 14] == pytest.approx(3.0, abs=0.01)  # 12 m over four cells, one cell of doubt
    assert sigma[20, 25] < 0.1


def test_filled_cells_are_less_certain() -> None:
    flat, interval, views = np.full((9, 9), 50.0), np.full((9, 9), 0.5), np.full((9, 9), 3)
    interval[4, 4], views[4, 4] = np.nan, 0
    sigma = height_sigma(flat, interval, views)
    assert sigma[4, 4] > 5 * sigma[0, 0]
    assert np.isnan(height_sigma(np.full((3, 3), np.nan), interval[:3, :3], views[:3, :3])).all()


def test_errors_of_interval_and_place_are_covered() -> None:
    """Hills seen about a cell off, in a direction of their own each, and rounded to the interval in three views."""
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(60.0), np.arange(60.0))
    errors = Calibration()
    for _ in range(80):
        truth = rng.uniform(0, 12) * np.sin(x / 9 + rng.uniform(0, 6)) * np.cos(y / 11)
        found = shift(truth, rng.normal(0, 1.0, 2), order=1, mode="nearest")
        found += rng.uniform(-0.4, 0.4, (3, *truth.shape)).mean(axis=0)
        sigma = height_sigma(found, np.full(truth.shape, 0.8), np.full(truth.shape, 3))
        errors.feed((found - truth)[6:-6, 6:-6], sigma[6:-6, 6:-6])
    figures = errors.result()
    assert 60 < figures["within_1"] < 90
    assert figures["within_2"] > 92
