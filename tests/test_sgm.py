"""The model-free matcher: its parts against slow direct versions, its heights against scenes known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analytic_scene import field, sample

from rsmvs.networks import sgm
from rsmvs.networks import sgm_kernels as kernels
from rsmvs.networks.matcher import Source, ViewStack
from rsmvs.options import SgmOptions

OPTIONS = SgmOptions(levels=3)


def stack_of(seed: int = 0, size: int = 96, views: int = 3) -> tuple[ViewStack, np.ndarray]:
    s = sample(seed, size=size, views=views)
    sources = tuple(Source(i, w) for i, w in zip(s.images[1:], s.warps, strict=True))
    return ViewStack(s.images[0], sources, s.height_range, s.gsd), s.heights


def error(found: np.ndarray, truth: np.ndarray, rim: int = 8) -> np.ndarray:
    return np.abs(found - truth)[rim:-rim, rim:-rim]


def test_census_equals_its_definition() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=(12, 14)).astype(np.float32)
    code = np.empty((24, 8, 10), np.uint8)
    kernels.census(image, 2, code)
    for r, c in ((0, 0), (3, 7), (7, 9)):
        window = image[r : r + 5, c : c + 5].ravel()
        assert code[:, r, c].tolist() == [int(x > window[12]) for i, x in enumerate(window) if i != 12]


def test_census_distances_equal_their_definition() -> None:
    rng = np.random.default_rng(5)
    image = rng.normal(size=(40, 60)).astype(np.float32)
    f = field((0.4, -0.3), 60, (0.0, 20.0))
    weights = kernels.census_weights(2)
    assert weights.sum() == 24 + 8  # the inner window twice
    reference = rng.integers(0, 2, (24, 6, 9)).astype(np.uint8)
    planes = np.array([11.0, 13.5])
    out = np.empty((2, 6, 9), np.uint8)
    kernels.block_distances(image, f.coefs, f.lattice, reference, weights, 11, 17, planes, 2, out)
    for k, height in enumerate(planes):
        warped = np.empty((10, 13), np.float32)
        kernels.warp_block(image, f.coefs, f.lattice, 9, 15, height, warped)
        code = np.empty((24, 6, 9), np.uint8)
        kernels.census(warped, 2, code)
        want = ((code != reference) * weights[:, None, None]).sum(axis=0)
        np.testing.assert_array_equal(out[k], want)
    outside = np.empty((1, 6, 9), np.uint8)
    kernels.block_distances(image, f.coefs, f.lattice, reference, weights, 300, 17, planes[:1], 2, outside)
    assert (outside == kernels.HIDDEN).all()


def test_warped_block_equals_the_image_at_the_field() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(40, 60)).astype(np.float32)
    f = field((0.4, -0.3), 60, (0.0, 20.0))
    out = np.empty((6, 9), np.float32)
    kernels.warp_block(image, f.coefs, f.lattice, 11, 17, 13.0, out)
    col, row = np.meshgrid(17 + np.arange(9), 11 + np.arange(6))
    u, v = f(col, row, 13.0)
    j, i = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = u - j, v - i
    want = (1 - b) * ((1 - a) * image[i, j] + a * image[i, j + 1]) + b * ((1 - a) * image[i + 1, j] + a * image[i + 1, j + 1])
    np.testing.assert_allclose(out, want, atol=1e-4)


def _aggregate_slowly(cost: np.ndarray, first: np.ndarray, p1: float, p2: np.ndarray) -> np.ndarray:
    """Hirschmueller's recursion along one row, dense, in absolute plane indices. cost: (w, d) with NaN out of range."""
    w, d = cost.shape
    path = np.full((w, d), np.inf)
    path[0] = cost[0]
    for c in range(1, w):
        before = path[c - 1]
        least = np.nanmin(before)
        for k in range(d):
            if np.isnan(cost[c, k]):
                path[c, k] = np.nan
                continue
            options = [least + p2[c]]
            for q, extra in ((k, 0.0), (k - 1, p1), (k + 1, p1)):
                if 0 <= q < d and not np.isnan(before[q]):
                    options.append(before[q] + extra)
            path[c, k] = cost[c, k] + min(options) - least
    return path


def test_aggregation_over_ragged_ranges_equals_the_recursion() -> None:
    rng = np.random.default_rng(2)
    w = 30
    first = rng.integers(3, 8, (1, w)).astype(np.int32)
    count = rng.integers(1, 9, w)
    start = np.concatenate([[0], np.cumsum(count)])
    flat = rng.integers(0, 150, start[-1]).astype(np.uint8)
    image = rng.normal(0, 10, (1, w)).astype(np.float32)
    total = np.zeros(flat.size, np.uint16)
    kernels.aggregate(flat, start, first, image, 0, 1, 10, 60, np.full_like(image, 5.0), total)
    dense = np.full((w, 20), np.nan)
    for c in range(w):
        dense[c, first[0, c] : first[0, c] + count[c]] = flat[start[c] : start[c + 1]]
    steps = np.abs(np.diff(image[0], prepend=image[0, 0]))
    want = _aggregate_slowly(dense, first, 10, np.trunc(np.maximum(60 / (1 + steps / 5.0), 11)))
    got = np.concatenate([want[c, first[0, c] : first[0, c] + count[c]] for c in range(w)])
    np.testing.assert_allclose(total, got, atol=1)


def test_median_keeps_holes_and_drops_spikes() -> None:
    values = np.ones((5, 5), np.float32)
    values[2, 2], values[0, 0] = 50, np.nan
    out = kernels.median3(values)
    assert out[2, 2] == 1
    assert np.isnan(out[0, 0])
    assert np.isfinite(out[0, 1])


def test_smoothing_calms_a_surface_and_keeps_its_edge() -> None:
    rng = np.random.default_rng(3)
    truth = np.where(np.arange(40) < 20, 0.0, 8.0)[None].repeat(40, 0)
    noisy = (truth + rng.normal(0, 0.2, truth.shape)).astype(np.float32)
    out = kernels.smooth(noisy, np.zeros_like(noisy), 3, 1.5, np.ones_like(noisy))
    assert np.abs(out - truth).std() < 0.5 * np.abs(noisy - truth).std()
    assert np.abs(out - truth).max() < 1.0


@pytest.mark.parametrize("views", [2, 3, 4])
def test_heights_of_a_known_scene(views: int) -> None:
    stack, truth = stack_of(views=views)
    found = sgm.match(stack, OPTIONS)
    e = error(found.height, truth)
    assert np.isfinite(e).all()
    assert np.median(e) < 0.35  # 0.18 px of the fastest source
    assert (e < 1.0).mean() > 0.93


def test_confidence_ranks_errors() -> None:
    stack, _ = stack_of(views=2, seed=4)
    noise = np.random.default_rng(4).normal(0, 60, stack.image.shape)
    noise[:, :48] = 0  # the right half is hopeless
    found = sgm.match(replace(stack, image=(stack.image + noise).astype(np.float32)), OPTIONS)
    assert np.median(found.confidence[:, 8:40]) > 2 * np.median(found.confidence[:, 56:88])
    assert ((found.confidence >= 0) & (found.confidence <= 1)).all()


def test_order_of_sources_does_not_matter() -> None:
    stack, _ = stack_of(views=4)
    a = sgm.match(stack, OPTIONS)
    b = sgm.match(replace(stack, sources=stack.sources[::-1]), OPTIONS)
    np.testing.assert_array_equal(a.height, b.height)


def test_no_data_stays_no_data_and_does_no_harm() -> None:
    stack, truth = stack_of()
    image = stack.image.copy()
    image[:30, :30] = np.nan
    blind = Source(np.full_like(stack.sources[1].image, np.nan), stack.sources[1].field)
    found = sgm.match(replace(stack, image=image, sources=(stack.sources[0], blind)), OPTIONS)
    assert np.isnan(found.height[:30, :30]).all()
    assert (found.confidence[:30, :30] == 0).all()
    assert (error(found.height, truth)[30:, 30:] < 1.0).mean() > 0.9
    nothing = sgm.match(replace(stack, sources=(blind,)), OPTIONS)
    assert np.isnan(nothing.height).all()


def test_planes_do_not_depend_on_the_window() -> None:
    stack, _ = stack_of(size=64)
    part = replace(stack, image=stack.image[:48, :48])
    assert sgm.plane_interval(stack, 0.5) == sgm.plane_interval(part, 0.5)
    slope = max(np.hypot(*s.field.slope(32, 32, 100)) for s in stack.sources)
    assert 0.35 < sgm.plane_interval(stack, 0.5) * slope <= 0.5


def test_wide_range_costs_no_accuracy() -> None:
    stack, truth = stack_of()
    found = sgm.match(replace(stack, height_range=(-300.0, 500.0)), SgmOptions(levels=4))
    assert (error(found.height, truth) < 1.0).mean() > 0.9
