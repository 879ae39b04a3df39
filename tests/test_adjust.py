"""Tie points and bundle adjustment: recovery of injected errors, faults, order independence, real images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from rsmvs.adjust.bundle import UNKNOWNS, correction_at
from rsmvs.adjust.control import ControlPoint, DemAnchor
from rsmvs.adjust.corrections import CorrectedCamera, companion_camera, corrected_camera
from rsmvs.adjust.features import detect, spread_order
from rsmvs.adjust.gauge import gauge_shift
from rsmvs.adjust.matching import MatchView, TiePoints, match_view, spread_windows
from rsmvs.adjust.network import adjust_network
from rsmvs.adjust.records import Network, Sensor
from rsmvs.adjust.refine import refine_matches
from rsmvs.adjust.tracks import Tracks, tracks_of
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.geometry.derivatives import projection_jacobian
from rsmvs.io.dem import dem_heights
from rsmvs.io.ground_control import read_control
from rsmvs.io.manifests import read_json
from rsmvs.io.raster import write_raster
from rsmvs.io.tiepoints import read_points, read_ties, write_points
from rsmvs.io.views import read_views, write_views
from rsmvs.options import AdjustOptions, ImageOptions, MatchOptions, ReferenceOptions
from rsmvs.simulate.tie_points import SimulatedNetwork, relative_errors, simulate_network
from rsmvs.stages.adjust import adjust_views, match_views
from rsmvs.stages.views import describe_image
from rsmvs.types import Window

BIAS = AdjustOptions(mode="bias")
METRES = 111320.0


def adjusted(network: SimulatedNetwork, options: AdjustOptions = BIAS, **more: Any) -> Network:
    return adjust_network(network.tracks, network.sensors, network.height_range, options, **more)


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.asarray(errors) ** 2)))


# Cameras and their derivatives


def test_analytic_derivatives_are_those_of_the_projection() -> None:
    network = simulate_network(2, 50)
    camera = network.exact[1]

    class Hidden:  # not an RPC: its derivatives are taken by differences
        project = staticmethod(camera.project)

    lon, lat, h = network.points.T
    analytic, numeric = (projection_jacobian(c, lon, lat, h) for c in (camera, Hidden()))  # type: ignore[arg-type]
    assert np.allclose(analytic, numeric, rtol=1e-6, atol=1e-6 * np.abs(analytic).max(axis=0))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=UNKNOWNS, max_size=UNKNOWNS))
def test_corrected_camera_round_trip(values: list[float]) -> None:
    sensor = simulate_network(2, 50).sensors[1]
    camera = CorrectedCamera(sensor.camera, np.array(values), np.array([749.5, 999.5]), 1000.0)
    col, row = np.array([0.0, 700.0, 1499.0]), np.array([1999.0, 3.0, 1000.0])
    u, v = camera.project(*camera.localise(col, row, 620.0), 620.0)
    assert np.allclose(u, col, atol=1e-6) and np.allclose(v, row, atol=1e-6)


def test_shift_is_exact_and_drift_is_refitted_to_a_hundredth_of_a_pixel() -> None:
    network = simulate_network(2, 50)
    s, ground = network.sensors[1], network.points.T
    for correction, bound in ((np.array([3.0, -2.0, 0, 0, 0, 0]), 1e-9), (np.array([3.0, -2.0, 0.3, -0.2, 0.1, 0.4]), 0.01)):
        camera, error = corrected_camera(s.camera, s.width, s.height, correction)
        uv = np.stack(s.camera.project(*ground), 1)
        wanted = uv + correction_at(correction, (uv - [749.5, 999.5]) / 1000.0)
        assert error < bound
        assert np.abs(np.stack(camera.project(*ground), 1) - wanted).max() < bound


def test_companion_moves_as_far_on_the_ground() -> None:
    s = simulate_network(2, 50).sensors[1]
    offsets, scales = s.camera.offsets / [4, 4, 1, 1, 1], s.camera.scales / [4, 4, 1, 1, 1]
    colour = replace(s.camera, offsets=offsets, scales=scales)  # four times coarser pixels
    moved = companion_camera(s.camera, colour, s.width, s.height, np.array([4.0, -8.0, 0, 0, 0, 0]))
    lon, lat = s.camera.localise(700.0, 900.0, 600.0)
    assert np.allclose(np.subtract(moved.project(lon, lat, 600.0), colour.project(lon, lat, 600.0)), [1.0, -2.0], atol=1e-3)


# The adjustment


@pytest.mark.parametrize("views", [2, 3, 8, 30])
def test_relative_errors_of_the_cameras_are_recovered(views: int) -> None:
    network = simulate_network(views, 200, noise_px=0.2, seed=views)
    result = adjusted(network)
    assert rms(relative_errors(network, np.zeros((views, UNKNOWNS)))) > 0.5
    assert rms(relative_errors(network, result.corrections)) < 0.05
    assert not any(result.flags.values())


def test_without_noise_the_recovery_is_exact() -> None:
    network = simulate_network(5, 100, noise_px=0.0)
    result = adjusted(network)
    assert rms(relative_errors(network, result.corrections)) < 2e-3
    assert rms(result.after) < 2e-3


def test_drift_is_taken_when_it_is_there_and_only_then() -> None:
    drifting, steady = (simulate_network(5, 300, noise_px=0.1, drift_px=d, seed=3) for d in (0.5, 0.0))
    auto = AdjustOptions(mode="auto", drift_sigma=0.5)
    assert not adjusted(steady, auto).corrections[:, 2:].any()
    taken = adjusted(drifting, auto)
    assert np.abs(taken.corrections[:, 2:]).max() > 0.1
    assert rms(taken.after) < 0.9 * rms(adjusted(drifting).after)
    assert rms(relative_errors(drifting, taken.corrections)) < rms(relative_errors(drifting, adjusted(drifting).corrections))


def test_third_of_wrong_matches_is_thrown_out() -> None:
    network = simulate_network(6, 300, wrong_share=0.3, longest_track=3, seed=1)
    assert network.wrong.mean() > 0.27
    result = adjusted(network)
    assert rms(relative_errors(network, result.corrections)) < 0.06
    assert result.rejected.sum() > 0.9 * network.wrong.sum()
    assert np.percentile(np.linalg.norm(result.after, axis=1), 99) < 1.0
    assert not any(result.flags.values())


def test_view_with_a_wrong_camera_is_put_right_flagged_and_moves_nobody() -> None:
    network = simulate_network(6, 300, seed=2)
    good = adjusted(network)
    sensors = [s if s.id != "v003" else s._replace(camera=s.camera.shifted(48.0, -36.0)) for s in network.sensors]
    broken = replace(network, sensors=tuple(sensors))
    result = adjusted(broken)
    assert rms(relative_errors(broken, result.corrections)) < 0.05
    assert [v for v, flags in result.flags.items() if flags] == ["v003"]
    assert 50 < float(result.flags["v003"][0].split()[3]) < 70
    others = [0, 1, 2, 4, 5]
    assert np.abs(result.corrections[others] - good.corrections[others]).max() < 3.0  # px: the wrong view no longer votes


def test_view_without_tie_points_keeps_its_camera() -> None:
    network = simulate_network(5, 200)
    t = network.tracks
    alone = t.usable(t.view != 4)
    result = adjusted(replace(network, tracks=t.kept(alone)))
    assert not result.corrections[4].any() and "no tie points" in result.flags["v004"][0]
    assert result.corrections[:4].any() and not any(result.flags[f"v00{k}"] for k in range(4))


def test_view_whose_tie_points_are_all_wrong_keeps_its_camera() -> None:
    network = simulate_network(5, 1000)
    xy = network.tracks.xy.copy()
    bad = network.tracks.view == 4
    xy[bad] += np.random.default_rng(0).uniform(-100, 100, (bad.sum(), 2))
    result = adjusted(replace(network, tracks=replace(network.tracks, xy=xy)))
    assert not result.corrections[4].any() and "too few agree" in result.flags["v004"][0]


def test_separate_networks_are_adjusted_and_flagged() -> None:
    network = simulate_network(6, 300, longest_track=3)
    t = network.tracks
    sides = np.zeros((t.n, 2), bool)
    for side in (0, 1):
        sides[:, side] = np.bincount(t.point, (t.view < 3) == (side == 0), t.n) == np.bincount(t.point, minlength=t.n)
    result = adjusted(replace(network, tracks=t.kept(sides.any(axis=1)[t.point])))
    assert all("not tied to the others" in " ".join(f) for f in result.flags.values())
    assert np.median(np.linalg.norm(result.after, axis=1)) < 0.3


def test_no_tie_points_at_all() -> None:
    network = simulate_network(3, 50)
    empty = Tracks(network.tracks.views, 0, np.empty(0, int), np.empty(0, int), np.empty((0, 2)))
    result = adjust_network(empty, network.sensors, network.height_range, BIAS)
    assert not result.corrections.any() and all(result.flags.values()) and len(result.points) == 0


def test_duplicated_images_share_one_camera_error() -> None:
    network = simulate_network(3, 200, shift_px=3.0)
    t = network.tracks
    twin = network.sensors[2]._replace(id="v003", camera=network.sensors[2].camera.shifted(2.0, 1.0))
    own = t.view == 2
    tracks = Tracks(
        (*t.views, "v003"), t.n, np.concatenate([t.point, t.point[own]]), np.concatenate([t.view, np.full(own.sum(), 3)]),
        np.concatenate([t.xy, t.xy[own]]),
    )  # fmt: skip
    order = np.lexsort((tracks.view, tracks.point))
    tracks = replace(tracks, point=tracks.point[order], view=tracks.view[order], xy=tracks.xy[order])
    result = adjust_network(tracks, (*network.sensors, twin), network.height_range, BIAS)
    assert np.allclose(result.corrections[3, :2] - result.corrections[2, :2], [2.0, 1.0], atol=0.02)
    only_twins = t.kept(own)  # two views from the very same place: no height, no crash, the shift between them is found
    pair = Tracks(("v002", "v003"), only_twins.n, np.repeat(only_twins.point, 2), np.tile([0, 1], only_twins.n),
                  np.repeat(only_twins.xy, 2, axis=0))  # fmt: skip
    result = adjust_network(pair, (network.sensors[2], twin), network.height_range, BIAS)
    assert np.allclose(result.corrections[1, :2] - result.corrections[0, :2], [2.0, 1.0], atol=0.02)


def test_free_network_stays_where_its_cameras_are_on_average() -> None:
    network = simulate_network(8, 300, shift_px=4.0, seed=5)
    result = adjusted(network)
    assert np.linalg.norm(result.moved) < 0.5
    ground = []
    for cameras in ([s.camera for s in network.sensors],
                    [corrected_camera(s.camera, s.width, s.height, c)[0] for s, c in
                     zip(network.sensors, result.corrections, strict=True)]):  # fmt: skip
        ground.append(np.mean([c.localise(749.5, 999.5, 600.0) for c in cameras], axis=0) * METRES)
    assert np.abs(ground[1] - ground[0]).max() < 0.5


def test_gauge_is_least_squares_but_for_far_views() -> None:
    rng = np.random.default_rng(0)
    jac, shifts = rng.normal(0, 1, (7, 2, 3)), rng.normal(0, 2, (7, 2))
    expected = np.linalg.lstsq(jac.reshape(-1, 3), shifts.ravel(), rcond=None)[0]
    assert np.allclose(gauge_shift(shifts, jac, 5.0), expected)
    far = np.concatenate([shifts, [[60.0, -40.0]]])
    assert np.allclose(gauge_shift(far, np.concatenate([jac, jac[:1]]), 5.0), expected, atol=1e-6)


def test_order_of_views_and_stars_does_not_matter() -> None:
    network = simulate_network(4, 120, wrong_share=0.1)
    t = network.tracks
    stars = []
    for v, name in enumerate(t.views):  # every track as a star of its first view
        first = np.searchsorted(t.point, np.arange(t.n))
        mine = np.flatnonzero(t.view[first] == v)
        rest = np.isin(t.point, mine) & (np.arange(len(t.point)) != first[t.point])
        others = tuple(n for n in t.views if n != name)
        partner = np.array([others.index(t.views[k]) if k != v else -1 for k in t.view[rest]])
        point = np.searchsorted(mine, t.point[rest])
        score = np.ones(rest.sum())
        stars.append(TiePoints(name, others, t.xy[first[mine]], point, partner, t.xy[rest], score, ("",) * len(others)))
    results = []
    for order in (stars, stars[::-1]):
        names = [s.view for s in order]
        sensors = sorted(network.sensors, key=lambda s, names=names: names.index(s.id))
        results.append(adjust_network(tracks_of(order, names), sensors, network.height_range, BIAS))
    assert np.array_equal(results[0].corrections, results[1].corrections)
    assert np.array_equal(results[0].points, results[1].points)


# Ground control and DEM


def test_control_points_pull_the_network_within_their_sigma() -> None:
    network = simulate_network(4, 200, seed=7)
    control = []
    for k, (lon, lat, h) in enumerate(network.points[:5]):
        seen = tuple(
            (s.id, *(float(x) for x in c.project(lon, lat, h))) for s, c in zip(network.sensors, network.exact, strict=True)
        )
        control.append(ControlPoint(f"g{k}", lon, lat, h, 0.1, 0.2, seen))
    free, tied = adjusted(network), adjusted(network, control=control)

    def offset(result: Network) -> np.ndarray:
        """Mean miss of the exact cameras, px: without control the network is off by its gauge."""
        cameras = [CorrectedCamera(s.camera, c, np.array([749.5, 999.5]), 1000.0)
                   for s, c in zip(network.sensors, result.corrections, strict=True)]  # fmt: skip
        miss = [np.subtract(c.project(*network.points.T), e.project(*network.points.T)).mean(axis=1)
                for c, e in zip(cameras, network.exact, strict=True)]  # fmt: skip
        return np.abs(np.array(miss)).max()

    assert offset(free) > 0.4 and offset(tied) < 0.2
    off = np.array(list(tied.control.values()))
    assert len(off) == 5 and (np.abs(off) < [0.1, 0.1, 0.2]).all()


def test_dem_holds_the_height() -> None:
    network = simulate_network(4, 300, seed=8)
    flat = replace(network, points=network.points)
    heights = {}
    for lift in (0.0, 12.0):
        lon0, lat0, h0 = network.points.T

        def height_of(lon: Any, lat: Any, lift: float = lift, lon0: Any = lon0, lat0: Any = lat0, h0: Any = h0) -> Any:
            near = np.argmin((lon[:, None] - lon0) ** 2 + (lat[:, None] - lat0) ** 2, axis=1)
            return h0[near] + lift

        heights[lift] = np.median(adjusted(flat, dem=DemAnchor(height_of, 3.0)).points[:, 2])
    assert abs(heights[0.0] - np.median(network.points[:, 2])) < 1.0
    assert abs(heights[12.0] - heights[0.0] - 12.0) < 0.5


def test_control_files(tmp_path: Path) -> None:
    header = "name,lon,lat,h,sigma_xy,sigma_h,view,col,row\n"
    table = tmp_path / "gcps.csv"
    table.write_text(header + "a,36.9,37.5,600,0.1,0.2,v0,10.5,20\na,36.9,37.5,600,0.1,0.2,v1,11,21\n")
    seen = {"v0": [10.5, 20], "v1": [11, 21]}
    properties = {"name": "a", "sigma_xy": 0.1, "sigma_h": 0.2, "observations": seen}
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [36.9, 37.5, 600]}, "properties": properties}
    points = {"type": "FeatureCollection", "features": [feature]}
    geo = tmp_path / "gcps.geojson"
    geo.write_text(json.dumps(points))
    assert read_control(table) == read_control(geo)
    assert ControlPoint(**read_control(table)[0]).seen == (("v0", 10.5, 20.0), ("v1", 11.0, 21.0))
    for text, named in ((header + "a,36.9,x,600,0.1,0.2,v0,1,2\n", "line 2"), ("name,lon\n", "column lat"),
                        (header + "a,36.9,37,600,0,0.2,v0,1,2\n", "sigma")):  # fmt: skip
        table.write_text(text)
        with pytest.raises(ConfigError, match=named):
            read_control(table)


def test_dem_is_read_between_cell_centres_with_its_offset(tmp_path: Path) -> None:
    from rsmvs.geometry.grid import Grid

    row, col = np.mgrid[:40, :50]
    write_raster(tmp_path / "dem.tif", [(100 + 2 * col + 3 * row).astype(np.float32)],
                 grid=Grid(500000.0, 4000000.0, 30.0, 50, 40), crs="EPSG:32637", nodata=-9999)  # fmt: skip
    from pyproj import Transformer

    x, y = (
        np.array([500000 + 30 * 10.5, 500000 + 30 * 20.75, 400000.0]),
        np.array([4000000 - 30 * 5.5, 4000000 - 30 * 8.0, 4e6]),
    )
    lon, lat = Transformer.from_crs("EPSG:32637", "EPSG:4326", always_xy=True).transform(x, y)
    height_of = dem_heights(tmp_path / "dem.tif", lon[:2], lat[:2], 25.0)
    got = height_of(lon, lat)
    assert np.allclose(got[:2], [25 + 100 + 20 + 15, 25 + 100 + 2 * 20.25 + 3 * 7.5], atol=0.02) and np.isnan(got[2])


# Matching


def texture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = sum(gaussian_filter(rng.normal(0, 1, shape), s) * s for s in (1.2, 3.0, 8.0))
    return (500 + 150 * image).astype(np.float32)


def test_patches_are_matched_to_a_fiftieth_of_a_pixel() -> None:
    reference = texture((220, 240))
    turn = np.array([[1.02, 0.03], [-0.02, 0.97]])
    inverse = np.linalg.inv(turn)
    shift = np.array([3.3, -2.6])  # source = turn @ reference + shift, (col, row)
    r, c = np.mgrid[:220, :240].astype(float)
    back = np.stack([c - shift[0], r - shift[1]], -1) @ inverse.T
    source = (1.4 * map_coordinates(reference, [back[..., 1], back[..., 0]], order=3, mode="nearest") + 40).astype(np.float32)
    rng = np.random.default_rng(1)
    source += rng.normal(0, 2, source.shape).astype(np.float32)
    ref_xy = rng.uniform(40, 180, (60, 2))
    truth = ref_xy @ turn.T + shift
    jacobian = np.repeat(np.eye(2)[None], 60, axis=0)  # the start does not know the turn
    xy, score, sigma = refine_matches(reference, source, ref_xy, truth + rng.uniform(-1, 1, (60, 2)), jacobian, 21)
    good = score > 0.95
    assert good.mean() > 0.9 and rms(xy[good] - truth[good]) < 0.02
    assert (sigma[good] < 0.05).all()
    source[:, 100:] = np.nan
    xy, score, _ = refine_matches(reference, source, ref_xy, truth, jacobian, 21)
    assert (truth[np.isfinite(score), 0] < 100).all() and np.isfinite(score).any()


def test_features_keep_away_from_holes_and_are_spread() -> None:
    image = texture((400, 400))
    image[150:250, 100:300] = np.nan
    found = detect(image, Window(1000, 2000, 400, 400), 300)
    col, row = found.xy.T - [[1000], [2000]]
    assert 200 < len(col) <= 300
    assert not ((col > 92) & (col < 308) & (row > 142) & (row < 258)).any()
    cells, counts = np.unique((np.stack([col, row]) // 100).astype(int), axis=1, return_counts=True)
    assert cells.shape[1] >= 14 and counts.max() < 60
    assert len(detect(np.full((300, 300), np.nan, np.float32), Window(0, 0, 300, 300), 100).xy) == 0
    assert len(detect(np.full((300, 300), 7.0, np.float32), Window(0, 0, 300, 300), 100).xy) == 0


def test_spread_takes_the_best_of_every_place_first() -> None:
    rng = np.random.default_rng(0)
    xy, rank = rng.uniform(0, 100, (500, 2)), rng.random(500)
    order = spread_order(xy, rank, 64)
    assert sorted(order) == list(range(500))
    shuffled = rng.permutation(500)
    assert np.array_equal(xy[shuffled][spread_order(xy[shuffled], rank[shuffled], 64)], xy[order])
    assert len(np.unique((xy[order[:16]] // 25).astype(int), axis=0)) >= 12


def test_windows_cover_the_image_and_start_far_apart() -> None:
    windows = spread_windows(5000, 3100, 1024)
    assert sum(w.width * w.height for w in windows) == 5000 * 3100
    centres = np.array([(w.col, w.row) for w in windows[:3]])
    assert np.linalg.norm(centres[1] - centres[2]) > 2500


def looking_at(image: np.ndarray, sensor: Sensor, exact: Any, flat: float) -> MatchView:
    """A view of a plane at height `flat` that carries `image` in the pixels of `exact`, seen by the given camera."""

    def read(window: Window) -> np.ndarray:
        out = np.full(window.shape, np.nan, np.float32)
        part = window.clipped(sensor.width, sensor.height)
        at = slice(part.row, part.row + part.height), slice(part.col, part.col + part.width)
        r, c = part.row - window.row, part.col - window.col
        out[r : r + part.height, c : c + part.width] = image[at]
        return out

    return MatchView(sensor.id, sensor.camera, sensor.width, sensor.height, read)


@pytest.fixture(scope="module")
def flat_pair() -> tuple[SimulatedNetwork, list[MatchView]]:
    """Two views of a painted plane at 600 m, 500 x 600 px, the second camera 40 px off; a hole in the second."""
    network = simulate_network(2, 10, size=(500, 600), shift_px=2.0, seed=4)
    ground = texture((600, 500), 3)
    c, r = np.meshgrid(np.arange(500.0), np.arange(600.0))
    lon, lat = network.exact[1].localise(c, r, 600.0)
    u, v = network.exact[0].project(lon, lat, 600.0)
    second = map_coordinates(ground, [v, u], order=3, cval=np.nan).astype(np.float32)
    second[:150, :200] = np.nan
    off = network.sensors[1]._replace(camera=network.sensors[1].camera.shifted(-30.0, 25.0))
    network = replace(network, sensors=(network.sensors[0], off))
    images = zip((ground, second), network.sensors, network.exact, strict=True)
    return network, [looking_at(i, s, e, 600.0) for i, s, e in images]


@pytest.mark.parametrize("window", [2048, 256])
def test_matching_finds_the_plane_through_a_large_camera_error(flat_pair: Any, window: int) -> None:
    network, views = flat_pair
    ties = match_view(views[0], [views[1]], network.height_range, MatchOptions(window=window, max_points=300))
    assert 150 < len(ties.ref_xy) <= 300 and ties.notes == ("",)
    lon, lat = network.exact[0].localise(*ties.ref_xy[ties.obs_point].T, 600.0)
    truth = np.stack(network.exact[1].project(lon, lat, 600.0), 1)
    error = np.linalg.norm(ties.obs_xy - truth, axis=1)
    assert np.median(error) < 0.03 and np.percentile(error, 98) < 0.3
    assert not ((ties.obs_xy[:, 0] < 200) & (ties.obs_xy[:, 1] < 150)).any()


def test_pairs_without_matches_are_noted(flat_pair: Any) -> None:
    network, views = flat_pair
    noise = texture((600, 500), 99)
    strange = looking_at(noise, network.sensors[1], network.exact[1], 600.0)._replace(id="strange")
    far = views[1]._replace(id="far", camera=views[1].camera.shifted(20000.0, 0.0))
    empty = looking_at(np.full_like(noise, np.nan), network.sensors[1], network.exact[1], 600.0)._replace(id="empty")
    ties = match_view(views[0], [strange, far, empty], network.height_range, MatchOptions())
    assert len(ties.ref_xy) == 0 and len(ties.obs_point) == 0
    assert "no common shift" in ties.notes[0] and ties.notes[1] == "no overlap" and "no common shift" in ties.notes[2]


# Stages


def run_stages(folder: Path, paths: list[Path], options: AdjustOptions, **more: Any) -> dict[str, Any]:
    views = [describe_image(ImageOptions(path=str(p))) for p in paths]
    write_views(folder / "views.json", views)
    for view in views:
        match_views(folder / "views.json", view.id, MatchOptions(), folder / "matches" / f"{view.id}.npz")
    files = [folder / "matches" / f"{v.id}.npz" for v in views]
    adjust_views(folder / "views.json", files, options, folder / "adjusted" / "views.json", **more)
    return read_json(folder / "adjusted" / "views.json")["adjustment"]


def test_stages_on_the_tiny_scene_give_the_same_bytes_twice(
    tiny_scene: Path, tiny_values: dict[str, Any], tmp_path: Path
) -> None:
    paths = [Path(i["path"]) for i in tiny_values["images"]]
    reports = [run_stages(tmp_path / name, paths, AdjustOptions()) for name in ("a", "b")]
    assert reports[0] == reports[1]
    for name in ("views.json", "points.npz", "residuals.json", "residuals.png"):
        assert (tmp_path / "a" / "adjusted" / name).read_bytes() == (tmp_path / "b" / "adjusted" / name).read_bytes()
    points = read_points(tmp_path / "a" / "adjusted" / "points.npz")
    assert len(points["h"]) == reports[0]["tracks"] and np.isfinite(points["sigma_h"]).all()
    assert read_views(tmp_path / "a" / "adjusted" / "views.json")[0].id == sorted(p.stem for p in paths)[0]


def test_residuals_are_told_before_and_after(tiny_scene: Path, tiny_values: dict[str, Any], tmp_path: Path) -> None:
    paths = [Path(i["path"]) for i in tiny_values["images"]]
    report, sample = run_stages(tmp_path, paths, AdjustOptions()), read_json(tmp_path / "adjusted" / "residuals.json")
    assert list(sample) == sorted(p.stem for p in paths)
    for name, view in sample.items():
        assert view["points"] == report["views"][name]["observations"] > 0
        assert len(view["xy"]) == len(view["before"]) == len(view["after"]) == min(view["points"], 400)
        assert (np.array(view["xy"]) < [view["width"], view["height"]]).all()
        for kind in ("before", "after"):
            assert view["median"][kind] == report["views"][name][kind]["median_px"]
            few = np.median(np.linalg.norm(view[kind], axis=1))
            assert few == pytest.approx(view["median"][kind], rel=0.25, abs=0.01)


def test_truncated_tie_points_are_named(tmp_path: Path) -> None:
    path = tmp_path / "v0.npz"
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ManifestError, match=r"v0\.npz"):
        read_ties(path)
    with pytest.raises(ManifestError, match="does not exist"):
        read_points(tmp_path / "points.npz")


def test_spoiled_points_are_named(tmp_path: Path) -> None:
    path, values = tmp_path / "points.npz", np.random.default_rng(0).random(4000)
    names = ("lon", "lat", "h", "n_views", "residual", "sigma_h", "batch")
    write_points(path, **dict.fromkeys(names, values))
    content = bytearray(path.read_bytes())
    content[2000:2064] = bytes(byte ^ 0x5A for byte in content[2000:2064])
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=r"points\.npz: is not complete"):
        read_points(path)


def test_real_views_with_injected_errors(shared_data: Path, tmp_path: Path) -> None:
    """Three views of a real surface whose RPCs were shifted by up to 4 px and drift (bias_truth.json)."""
    scene = shared_data / "autzen_public"
    names = ("v00", "v01", "v02")
    report = run_stages(tmp_path, [scene / "images_biased" / f"{n}.tif" for n in names], AdjustOptions())
    points = read_points(tmp_path / "adjusted" / "points.npz")
    some = np.linspace(0, len(points["h"]) - 1, 400).astype(int)
    ground = np.stack([points[k][some] for k in ("lon", "lat", "h")])
    scale = np.array([1 / (METRES * np.cos(np.radians(44.05))), 1 / METRES, 1.0])
    error, jac, before = [], [], []
    for view, name in zip(read_views(tmp_path / "adjusted" / "views.json"), names, strict=True):
        exact = describe_image(ImageOptions(path=str(scene / "images" / f"{name}.tif"))).camera
        given = describe_image(ImageOptions(path=str(scene / "images_biased" / f"{name}.tif"))).camera
        error.append(np.subtract(view.camera.project(*ground), exact.project(*ground)).T)
        before.append(np.subtract(given.project(*ground), exact.project(*ground)).T)
        jac.append(projection_jacobian(exact, *ground) * scale)
    left = []
    for e in (np.array(before), np.array(error)):
        a = np.array(jac).reshape(-1, 3)
        left.append(rms(e.ravel() - a @ np.linalg.lstsq(a, e.ravel(), rcond=None)[0]))
    assert left[0] > 0.5 and left[1] < 0.15  # px, relative between the views
    assert np.linalg.norm(report["moved_m"]) < 0.5
    assert report["after"]["median_px"] < 0.1 and report["before"]["median_px"] > 1.0


def test_dates_and_an_earthquake_between_them(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "kahramanmaras"
    names = ("post_event_img1", "post_event_img2", "pre_event_img1", "pre_event_img2")
    report = run_stages(tmp_path, [folder / f"{n}.tif" for n in names], AdjustOptions())
    assert report["after"]["median_px"] < 0.3 < report["before"]["median_px"]
    assert not any(v["flags"] for v in report["views"].values())
    assert len(report["pairs"]) == 6  # both dates in one network


def test_dem_anchor_moves_heights_to_the_datum_of_the_dem(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "gizeh"
    paths = [folder / f"img{k}.tif" for k in (1, 2)]
    run_stages(tmp_path / "free", paths, AdjustOptions())
    reference = ReferenceOptions(dem=str(folder / "N29E031_KHEOPS.tif"))
    run_stages(tmp_path / "dem", paths, AdjustOptions(dem_sigma=5.0), reference=reference)
    off = []
    for name in ("free", "dem"):
        p = read_points(tmp_path / name / "adjusted" / "points.npz")
        off.append(float(np.median(p["h"] - dem_heights(reference.dem, p["lon"], p["lat"], 0.0)(p["lon"], p["lat"]))))
    assert abs(off[1]) < 1.0 < abs(off[0])
