"""Consistency, gridding, fusion, orthoimage: recovery of what was put in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from analytic_scene import field

from rsmvs.fusion.consistency import Other, check_consistency
from rsmvs.fusion.dsm import draw_surface, fill_holes, fuse_layers, layer_weight
from rsmvs.fusion.ortho import Look, orthoimage
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.warp import WarpField
from rsmvs.options import HeightsOptions

RANGE = (80.0, 120.0)


def inverse(a: float, b: float, size: int) -> WarpField:
    """From the source back: the source pixel moves by -(a, b) per metre."""
    return field((-a, -b), size, RANGE)


def plane_pair(size: int = 60) -> tuple[np.ndarray, np.ndarray, WarpField, WarpField]:
    """A flat scene at 104 m seen straight down and with 0.5 px/m: the second sees it 2 px to the right."""
    there, back = field((0.5, 0.0), size, RANGE), inverse(0.5, 0.0, size)
    flat = np.full((size, size), 104.0, np.float32)
    return flat, flat.copy(), there, back


def test_true_heights_agree() -> None:
    a, b, there, back = plane_pair()
    found = check_consistency(a, [Other(b, there, back)], 1.0, 2.5)
    inside = (slice(None), slice(0, -3))  # the rest falls outside the other view
    assert (found.agrees[inside] == 1).all()
    assert (found.against == 0).all()
    np.testing.assert_allclose(found.height, a, atol=1e-5)


def test_agreeing_heights_are_averaged() -> None:
    a, b, there, back = plane_pair()
    found = check_consistency(a, [Other(b + np.float32(0.8), there, back)], 1.0, 2.5)
    np.testing.assert_allclose(found.height[:, :50], 104.4, atol=1e-4)


def test_wrong_heights_are_told_apart() -> None:
    a, b, there, back = plane_pair()
    a[10:20, 10:20] += 10  # floats above what the other sees through it
    a[30:40, 10:20] -= 10  # below: the other sees something in front, no evidence
    found = check_consistency(a, [Other(b, there, back)], 1.0, 2.5)
    assert (found.agrees[10:20, 10:20] == 0).all()
    assert (found.against[10:20, 10:20] == 1).all()
    assert (found.agrees[30:40, 10:20] == 0).all()
    assert (found.against[30:40, 10:20] == 0).all()


def test_reprojection_limit_binds_before_the_height_limit() -> None:
    a, b, there, back = plane_pair()
    b += 2.2  # 1.1 px of reprojection, within 2.5 m
    assert not check_consistency(a, [Other(b, there, back)], 1.0, 2.5).agrees.any()
    assert check_consistency(a, [Other(b, there, back)], 1.2, 2.5).agrees.any()


def test_each_view_that_agrees_has_its_bit() -> None:
    a, b, there, back = plane_pair()
    wrong = Other(b + np.float32(9), there, back)
    right = Other(b, there, back)
    found = check_consistency(a, [right, wrong, right], 1.0, 2.5)
    assert (found.agrees[:, :50] == 0b101).all()


GROUND = Grid(0.0, 30.0, 0.5, 60, 60)


def test_all_references_that_a_tile_may_have_have_a_bit() -> None:
    most = next(f for f in dataclasses.fields(HeightsOptions) if f.name == "max_views").metadata["high"]
    a, b, there, back = plane_pair(20)
    right, wrong = Other(b, there, back), Other(b - np.float32(10), there, back)
    found = check_consistency(a, [*[wrong] * (most - 2), right], 1.0, 2.5)
    assert (found.agrees[:, :-3] == 1 << (most - 2)).all()
    with pytest.raises(AssertionError, match="a bit each"):
        check_consistency(a, [right] * most, 1.0, 2.5)


def ground_field(size: int = 60) -> WarpField:
    """Pixel (c, r) lies at x = (c + 0.5) / 2, y = 30 - (r + 0.5) / 2, at every height."""
    coefs = np.zeros((2, 2, 3, 2))
    coefs[:, 0, 0, 0], coefs[:, 1, 0, 0] = 0.25, 0.25 + size / 2
    coefs[0, :, 0, 1], coefs[1, :, 0, 1] = 29.75, 29.75 - size / 2
    return WarpField(coefs, np.array([0.0, 0.0, 1 / size, 100, 1 / 20, 0, 0]), 0.0)


def test_a_tilted_plane_is_drawn_exactly() -> None:
    rows, cols = np.mgrid[:60, :60]
    height = (100 + 0.1 * cols - 0.2 * rows).astype(np.float32)
    fine = Grid(2.1, 27.9, 0.3, 80, 80)  # cells that do not fall on pixels
    drawn, carried = draw_surface(height, height[None] * 2, ground_field(), fine, 2.0)
    x, y = fine.x0 + (np.arange(80) + 0.5) * 0.3, fine.y0 - (np.arange(80) + 0.5) * 0.3
    want = 100 + 0.1 * (x[None] * 2 - 0.5) - 0.2 * ((30 - y[:, None]) * 2 - 0.5)
    np.testing.assert_allclose(drawn, want, atol=1e-3)
    np.testing.assert_allclose(carried[0], 2 * drawn, rtol=1e-5)


def test_a_wall_is_torn_not_sloped() -> None:
    height = np.where(np.arange(60) < 30, 100.0, 110.0)[None].repeat(60, 0).astype(np.float32)
    fine = Grid(5.0, 25.0, 0.25, 80, 80)
    drawn, _ = draw_surface(height, height[None], ground_field(), fine, 2.0)
    known = drawn[np.isfinite(drawn)]
    assert set(np.unique(known)) == {100.0, 110.0}


def layers(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 1, 1)


@pytest.mark.parametrize(
    ("heights", "weights", "want"),
    [
        ((100.0, 100.4, 110.0), (1, 1, 1), 100.2),  # the majority
        ((100.0, 100.4, 110.0), (1, 1, 9), 110.0),  # the heavier
        ((100.0, 110.0), (1, 1), 110.0),  # a tie: the upper
        ((np.nan, 110.0), (1, 1), 110.0),
    ],
)
def test_the_heaviest_group_wins(heights: tuple, weights: tuple, want: float) -> None:
    h, w = layers(*heights), layers(*weights)
    out = fuse_layers(h, w, np.full_like(h, 2), np.full_like(h, 0.3), 1.0)
    assert out.height[0, 0] == pytest.approx(want, abs=1e-4)
    turned = fuse_layers(h[::-1].copy(), w[::-1].copy(), np.full_like(h, 2), np.full_like(h, 0.3), 1.0)
    assert turned.height[0, 0] == pytest.approx(out.height[0, 0], abs=1e-4)


def test_confidence_is_that_of_two_agreeing_views() -> None:
    weight = layer_weight(layers(2, 2), layers(0.4, 0.4), layers(0, 0))
    out = fuse_layers(layers(100, 100.2), weight, layers(2, 2), layers(0.3, 0.3), 1.0)
    assert out.confidence[0, 0] == pytest.approx(0.4, abs=1e-3)
    dissent = fuse_layers(
        layers(100, 100.2, 130), np.concatenate([weight, layers(0.32)]), layers(2, 2, 1), layers(0.3, 0.3, 0.3), 1.0
    )
    assert dissent.confidence[0, 0] < out.confidence[0, 0]
    assert out.n_views[0, 0] == 2
    nothing = fuse_layers(layers(np.nan), layers(1), layers(0), layers(0.3), 1.0)
    assert np.isnan(nothing.height[0, 0])
    assert nothing.n_views[0, 0] == 0


def test_holes_are_closed_from_all_sides_only() -> None:
    height = np.full((9, 9), 5.0, np.float32)
    height[4, 4] = np.nan  # inside
    height[:, 7:] = np.nan  # the border of the data
    out = fill_holes(height, 1)
    assert out[4, 4] == 5
    assert np.isnan(out[:, 7:]).all()
    assert np.isnan(fill_holes(height, 0)[4, 4])


def test_orthoimage_takes_the_view_that_sees_the_cell() -> None:
    size = 40
    surface = np.full((size, size), 100.0, np.float32)
    straight = field((0.0, 0.0), size, RANGE)
    first, second = np.full((size, size), 10.0, np.float32), np.full((size, size), 20.0, np.float32)
    front = np.full((size, size), 100.0, np.float32)
    front[10:20, 10:20] = 112.0  # something stands in front of these cells in the first image
    second[10:20, 10:20] = 60.0
    (out,) = orthoimage(surface, [Look(first, front, straight), Look(second, surface, straight)], 2.0)
    assert (out[:3, :3] == 10).all()
    np.testing.assert_allclose(out[14:16, 14:16], 30.0)  # the second's 60 at the first's brightness, 10 / 20
