"""View selection: scores, closure, dates, duplicates, height ranges, and the plans of real scenes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cameras import make_rpc

from rsmvs.config import config_from_dict
from rsmvs.errors import CoverageError
from rsmvs.io.manifests import read_json
from rsmvs.io.raster import write_raster
from rsmvs.io.tiepoints import write_points
from rsmvs.io.views import read_shared_ties, read_views, write_views
from rsmvs.options import SelectOptions
from rsmvs.planning import Sight, rank_sets, rate_pairs, search_range, trusted_heights
from rsmvs.stages.views import index_views, select_views
from rsmvs.types import View

CAMERA = make_rpc(1)


def view(name: str, incidence: float, azimuth: float = 0.0, *, date=None, sun=None, gsd=0.5) -> View:
    return View(
        id=name, path=f"{name}.tif", camera=CAMERA, camera_source="", width=100, height=100, nodata=None, weights=(1.0,),
        date=date, sun=sun, incidence=incidence, azimuth=azimuth, gsd=gsd, footprint=(), fingerprint="",
    )  # fmt: skip


def sight(v: View, share: float = 1.0) -> Sight:
    i, a = np.radians([v.incidence, v.azimuth])
    return Sight(v, share, np.array([np.sin(i) * np.sin(a), np.sin(i) * np.cos(a), np.cos(i)]))


def plan(views, options=None, overlap=None, ties=None, shares=None):
    options = options or SelectOptions()
    sights = [sight(v, (shares or {}).get(v.id, 1.0)) for v in views]
    keys = combinations(sorted(v.id for v in views), 2)
    pairs = rate_pairs(sights, {k: (overlap or {}).get(k, 1.0) for k in keys}, options, ties)
    return pairs, rank_sets(sights, pairs, options)


def assert_every_view_serves_as_reference(sets):
    references = {s["reference"] for s in sets}
    assert {i for s in sets for i in s["sources"]} <= references


def test_the_best_angle_scores_best():
    views = [view("ref", 0), *(view(f"v{a:02d}", a) for a in (2, 5, 15, 30, 45, 60))]
    pairs, _ = plan(views)
    score = {a: pairs["ref", f"v{a:02d}"].score for a in (2, 5, 15, 30, 45, 60)}
    assert score[15] == pytest.approx(1.0, abs=1e-6) == max(score.values())
    assert score[5] < score[15] > score[30] > score[45] > score[60]
    assert "2.0 degrees are outside" in pairs["ref", "v02"].barred and "60.0 degrees" in pairs["ref", "v60"].barred
    assert not pairs["ref", "v05"].barred


@pytest.mark.parametrize(
    "worse",
    [
        {"gsd": 1.0},
        {"date": "2020-04-01"},
        {"sun": (300.0, 20.0)},
    ],
)
def test_each_difference_costs(worse):
    base = {"gsd": 0.5, "date": "2020-03-01T10:00:00Z", "sun": (150.0, 50.0)}
    ref, like, unlike = view("a", 0, **base), view("b", 15, **base), view("c", 15, 180, **(base | worse))
    pairs, _ = plan([ref, like, unlike])
    assert pairs["a", "c"].score < 0.9 * pairs["a", "b"].score


def test_unknown_dates_and_suns_are_not_punished():
    pairs, _ = plan([view("a", 0, date="2020-03-01"), view("b", 15), view("c", 15, 90, date="no date")])
    assert pairs["a", "b"].terms["time"] == pairs["a", "c"].terms["time"] == pairs["a", "b"].terms["sun"] == 1.0
    assert "dates unknown" in pairs["a", "b"].why()


def test_overlap_counts_and_may_bar():
    views = [view("a", 0), view("b", 15), view("c", 15, 180)]
    pairs, sets = plan(views, overlap={("a", "b"): 0.5, ("b", "c"): 0.02})
    assert pairs["a", "b"].score == pytest.approx(0.5 * pairs["a", "c"].score, rel=1e-6)
    assert "2 % overlap" in pairs["b", "c"].barred
    assert {s["reference"]: s["sources"] for s in sets}["b"] == ["a"]


def test_same_dates_first_and_distant_ones_barred():
    """Two pairs a year apart, as before and after an earthquake: never mixed while each has its own partner."""
    views = [
        view("pre1", 16, 333, date="2022-04-10T08:30:00Z"), view("pre2", 12, 260, date="2022-04-10"),
        view("post1", 14, 320, date="2023-04-15"), view("post2", 13, 248, date="2023-04-15T08:34:39Z"),
    ]  # fmt: skip
    pairs, sets = plan(views)
    assert {s["reference"]: s["sources"] for s in sets} == {
        "pre1": ["pre2"], "pre2": ["pre1"], "post1": ["post2"], "post2": ["post1"]}  # fmt: skip
    assert "370 days apart" in pairs["post1", "pre2"].barred
    assert all("same day" in s["why"] for s in sets)


def test_distant_dates_are_used_where_nothing_is_closer():
    views = [view("a", 0, date="2022-04-10"), view("b", 15, date="2023-04-15"), view("c", 15, 180, date="2024-04-15")]
    pairs, sets = plan(views)
    assert len(sets) == 3 and not pairs["a", "b"].barred
    assert pairs["a", "b"].score < 0.1  # but they are known to be poor


def test_tie_points_tell_of_changes_when_dates_do_not():
    views = [view("pre1", 16, 333), view("pre2", 12, 260), view("post1", 14, 320), view("post2", 13, 248)]
    ties = {("pre1", "pre2"): 0.84, ("post1", "post2"): 0.85}
    ties |= {("post1", "pre2"): 0.09, ("post2", "pre1"): 0.14, ("post1", "pre1"): 0.22}
    _, sets = plan(views, ties=ties)
    assert {s["reference"]: s["sources"][0] for s in sets} == {
        "pre1": "pre2", "pre2": "pre1", "post1": "post2", "post2": "post1"}  # fmt: skip
    assert all(len(s["sources"]) == 1 for s in sets)


def test_duplicates_add_nothing():
    views = [view("a", 0), view("b", 15, 10), view("b_again", 15, 10), view("c", 15, 190)]
    _, sets = plan(views)
    sources = {s["reference"]: set(s["sources"]) for s in sets}
    assert len(sources["a"] & {"b", "b_again"}) == 1 and "c" in sources["a"]
    assert "b_again" not in sources["b"]  # 0 degrees apart


def test_many_views_from_few_places_spread_over_the_places():
    """Of thirty views from six places, the ten that are kept look from all six."""
    directions = [(0, 0), (14, 0), (14, 120), (14, 240), (25, 60), (25, 180)]
    views = [view(f"v{i:02d}", *directions[i % 6]) for i in range(30)]
    _, sets = plan(views)
    assert len(sets) == 10
    assert {int(s["reference"][1:]) % 6 for s in sets} == set(range(6))
    assert_every_view_serves_as_reference(sets)


def test_sources_are_limited_and_best_first():
    views = [view("ref", 0), *(view(f"s{i}", 8 + 2 * i, 40 * i) for i in range(8))]
    pairs, sets = plan(views, SelectOptions(max_sources=3))
    assert all(len(s["sources"]) <= 3 for s in sets)
    (ref,) = (s for s in sets if s["reference"] == "ref")
    best = max((p.score, k) for k, p in pairs.items() if "ref" in k)[1]
    assert ref["sources"][0] in best


def test_a_reference_that_sees_little_comes_last():
    views = [view("a", 0), view("b", 15), view("c", 15, 180)]
    _, sets = plan(views, shares={"a": 0.3})
    assert sets[-1]["reference"] == "a" and "sees 30 % of the tile" in sets[-1]["why"]


def test_ten_best_sets_of_three():
    """The classic plan: a reference and two sources, ten times; references repeat."""
    views = [view(f"v{i}", 6 + 3 * i, 60 * i) for i in range(6)]
    _, sets = plan(views, SelectOptions(max_sets=10, max_sources=2, sets_per_reference=10, min_score=0.001))
    assert len(sets) == 10
    assert all(len(s["sources"]) == 2 for s in sets)
    assert len({(s["reference"], frozenset(s["sources"])) for s in sets}) == 10
    assert_every_view_serves_as_reference(sets)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 14), st.integers(1, 12), st.integers(1, 6), st.integers(1, 4))
def test_any_scene_gives_closed_ordered_sets(seed, n, max_sets, max_sources, per_reference):
    rng = np.random.default_rng(seed)
    dates = [None, "2020-01-01", "2020-03-20", "2021-01-01"]
    views = [view(f"v{i:02d}", rng.uniform(0, 35), rng.uniform(0, 360), date=dates[rng.integers(4)]) for i in range(n)]
    overlap = {k: float(rng.uniform(0, 1)) for k in combinations([v.id for v in views], 2)}
    options = SelectOptions(max_sets=max_sets, max_sources=max_sources, sets_per_reference=per_reference)
    pairs, sets = plan(views, options, overlap)
    assert len(sets) <= max_sets
    assert_every_view_serves_as_reference(sets)
    assert [s["score"] for s in sets] == sorted((s["score"] for s in sets), reverse=True)
    for s in sets:
        assert s["sources"] and s["reference"] not in s["sources"] and len(set(s["sources"])) == len(s["sources"])
        assert 0 < s["score"] <= 1 and set(s["terms"]) == set(s["sources"])
        for i in s["sources"]:
            assert not pairs[min(i, s["reference"]), max(i, s["reference"])].barred
    shuffled, again = plan(list(rng.permutation(np.array(views, object))), options, overlap)
    assert again == sets and shuffled.keys() == pairs.keys()


CAMERA_RANGE = (450.0, 1870.0)


def places(rng, heights):
    """Points (n, 3) spread over a tile of 500 m."""
    return np.column_stack([rng.uniform(0, 500, (len(heights), 2)), heights])


def test_wild_tie_points_do_not_widen_the_range():
    rng = np.random.default_rng(0)
    good = places(rng, rng.normal(560, 8, 300))
    (low, high), _ = search_range(good, None, CAMERA_RANGE, SelectOptions())
    assert 500 < low < 540 and 580 < high < 640
    for wild in (455.0, 1800.0, np.nan):
        found, _ = search_range(np.vstack([good, [[250, 250, wild]]]), None, CAMERA_RANGE, SelectOptions())
        assert found == pytest.approx((low, high))
    many = np.vstack([good, places(rng, rng.uniform(*CAMERA_RANGE, 30))])
    (low2, high2), source = search_range(many, None, CAMERA_RANGE, SelectOptions())
    assert low2 > low - 20 and high2 < high + 20
    assert "distrusted" in source


def test_relief_and_towers_are_kept():
    rng = np.random.default_rng(0)
    ground = places(rng, np.zeros(200))
    ground[:, 2] = 500 + 0.8 * ground[:, 0] + rng.normal(0, 2, 200)  # a slope of 39 degrees
    trusted = trusted_heights(ground)
    assert trusted.max() - trusted.min() > 370
    plain = places(rng, rng.normal(500, 2, 2000))
    tower = np.array([[200.0, 200, 690], [210, 204, 691], [207, 190, 690]])
    (_, high), _ = search_range(np.vstack([plain, tower]), None, CAMERA_RANGE, SelectOptions())
    assert high >= 690
    few = np.column_stack([rng.uniform(0, 20000, (60, 2)), np.zeros(60)])
    few[:, 2] = 600 + 100 * np.sin(few[:, 0] / 3000)  # sparse points of a large scene
    assert len(trusted_heights(few)) > 50


def test_a_dem_widens_and_stands_in():
    rng = np.random.default_rng(0)
    h = places(rng, rng.normal(560, 3, 100))
    options = SelectOptions()
    (low, high), source = search_range(h, (500.0, 700.0), CAMERA_RANGE, options)
    assert low <= 500 and high >= 700 and source == "100 tie points and DEM"
    (low, high), source = search_range(h[:5], (500.0, 520.0), CAMERA_RANGE, options)
    assert 450 <= low < 500 and 520 < high < 620 and source == "DEM"
    assert search_range(h[:5], None, CAMERA_RANGE, options) == (CAMERA_RANGE, "validity of the cameras")
    found, source = search_range(h, None, (2000.0, 3000.0), options)
    assert found == (2000.0, 3000.0) and "contradict" in source


def scene(shared_data, tmp_path: Path, images, crs, aoi, **more):
    values = {"images": [{"path": str(shared_data / i), **m} for i, m in images], "area": {"crs": crs, "aoi": aoi}}
    config = config_from_dict(values | more, tmp_path / "c.yaml")
    index_views(config.images, config.area, tmp_path / "views.json")
    return config


AUTZEN = [494004, 4877808, 494340, 4878798]


@pytest.fixture
def autzen(shared_data, tmp_path):
    images = [(f"autzen_public/images/v0{i}.tif", {}) for i in range(6)]
    return scene(shared_data, tmp_path, images, "EPSG:32610", AUTZEN)


def select(config, tmp_path: Path, views: str = "views.json"):
    select_views(tmp_path / views, config.area, config.select, config.reference, tmp_path / "plan.json")
    return read_json(tmp_path / "plan.json")["tiles"]


def test_plan_of_six_same_date_views(autzen, tmp_path):
    tiles = select(autzen, tmp_path)
    assert len(tiles) == 3
    for tile in tiles:
        assert tile["status"] == "ok" and len(tile["sets"]) == 6
        assert_every_view_serves_as_reference(tile["sets"])
        assert tile["sets"][0]["reference"] == "v00"  # near nadir, good angles to all
        assert min(tile["shares"].values()) > 0.95
        own = read_json(tmp_path / "tiles" / tile["tile"] / "plan.json")
        assert {v["id"] for v in own["views"]} == {f"v0{i}" for i in range(6)}
        assert own["sets"] == [{k: s[k] for k in ("reference", "sources")} for s in tile["sets"]]
    first = (tmp_path / "plan.json").read_bytes(), (tmp_path / "plan.png").read_bytes()
    select(autzen, tmp_path)
    assert first == ((tmp_path / "plan.json").read_bytes(), (tmp_path / "plan.png").read_bytes())
    assert first[1][:4] == b"\x89PNG"


def test_sparse_points_set_the_height_range(autzen, tmp_path):
    rng, n = np.random.default_rng(0), 900
    lon, lat, h = rng.uniform(-123.0748, -123.0708, n), rng.uniform(44.0535, 44.0623, n), rng.normal(135, 4, n)
    h[0], sigma = 10000.0, np.full(n, 0.3)
    h[1:40], sigma[1:40] = 200.0, 50.0  # views from nearly the same place
    one = np.ones(n)
    write_points(tmp_path / "points.npz", lon=lon, lat=lat, h=h, n_views=2 * one, residual=one, sigma_h=sigma, batch=0 * one)
    for tile in select(autzen, tmp_path):
        low, high = tile["height_range"]
        assert 95 < low < 125 and 150 < high < 190
        assert "tie points" in tile["height_source"] and abs(tile["ground_height"] - 135) < 3


def test_tie_points_of_the_adjustment_rate_pairs(autzen, tmp_path):
    views = read_views(tmp_path / "views.json")
    report = {
        "pairs": [["v01", "v00", 500], ["v00", "v02", 5], ["v01", "v02", 800]],
        "views": {"v00": {"observations": 600}, "v01": {"observations": 1200}, "v02": {"observations": 1000}},
    }
    write_views(tmp_path / "adjusted.json", views, adjustment=report)
    assert read_shared_ties(tmp_path / "views.json") == {}
    shared = read_shared_ties(tmp_path / "adjusted.json")
    assert shared == {("v00", "v01"): 500 / 600, ("v00", "v02"): 5 / 600, ("v01", "v02"): 800 / 1000}
    terms = {tuple(p["views"]): p["terms"]["ties"] for p in select(autzen, tmp_path, "adjusted.json")[0]["pairs"]}
    assert terms["v00", "v01"] == 1.0 and terms["v00", "v02"] == pytest.approx(0.01, abs=1e-3)
    assert terms["v03", "v04"] == 1.0  # nothing known


def test_configured_height_range_wins(autzen, tmp_path):
    config = replace(autzen, area=replace(autzen.area, height_range=(100.0, 180.0)))
    tiles = select(config, tmp_path)
    assert tiles[0]["height_range"] == [100.0, 180.0] and tiles[0]["height_source"] == "area.height_range"


def test_kahramanmaras_pairs_of_one_date_first(shared_data, tmp_path):
    dates = {"pre": "2022-12-20", "post": "2023-04-15"}
    names = ("pre_event_img1", "pre_event_img2", "post_event_img1", "post_event_img2")
    images = [(f"kahramanmaras/{n}.tif", {"date": dates[n.split("_")[0]]}) for n in names]
    config = scene(shared_data, tmp_path, images, "EPSG:32637", [315160, 4161560, 315640, 4162040])
    for tile in select(config, tmp_path):
        sets = {s["reference"]: s["sources"] for s in tile["sets"]}
        assert sets == {
            "pre_event_img1": ["pre_event_img2"], "pre_event_img2": ["pre_event_img1"],
            "post_event_img1": ["post_event_img2"], "post_event_img2": ["post_event_img1"]}  # fmt: skip
        assert any("116 days apart" in p["why"] for p in tile["pairs"])


def test_a_dem_sets_the_height_range(shared_data, tmp_path):
    images = [(f"gizeh/img{i}.tif", {}) for i in (1, 2)]
    reference = {"dem": str(shared_data / "gizeh" / "N29E031_KHEOPS.tif"), "dem_offset": 15.0}
    config = scene(shared_data, tmp_path, images, "EPSG:32636", [319774, 3317676, 320300, 3318163], reference=reference)
    low, high = select(config, tmp_path)[0]["height_range"]
    assert 10.0 <= low < 60.0 and 130.0 < high < 270.0  # terrain near 60 m above the geoid, the pyramid 139 m high


def test_what_nobody_sees_is_empty_and_says_so(shared_data, tmp_path):
    images = [(f"autzen_public/images/v0{i}.tif", {}) for i in (0, 1)]
    wide = [494004, 4877808, 494340, 4879400]  # the last tile lies north of all images
    config = scene(shared_data, tmp_path, images, "EPSG:32610", wide)
    tiles = {t["tile"]: t for t in select(config, tmp_path)}
    empty = [t for t in tiles.values() if t["status"] == "empty"]
    assert empty and all(not t["sets"] and "view" in t["reason"] for t in empty)
    assert any(t["status"] == "ok" for t in tiles.values())
    assert read_json(tmp_path / "tiles" / empty[0]["tile"] / "plan.json")["views"] == []


def test_no_usable_pair_anywhere_is_an_error(autzen, tmp_path):
    config = replace(autzen, select=SelectOptions(min_angle=49.9, max_angle=50.0))
    with pytest.raises(CoverageError, match="degrees are outside"):
        select(config, tmp_path)


def test_masks_take_views_out(autzen, tmp_path):
    views = read_views(tmp_path / "views.json")
    v = views[1]
    write_raster(tmp_path / "cloud.tif", [np.ones((v.height, v.width), np.uint8)])
    views[1] = replace(v, masks=(str(tmp_path / "cloud.tif"),), fingerprint="")
    write_views(tmp_path / "masked.json", views)
    for tile in select(autzen, tmp_path, "masked.json"):
        assert tile["shares"]["v01"] == 0.0
        assert "v01" not in json.dumps(tile["sets"])
