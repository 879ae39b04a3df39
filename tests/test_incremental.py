"""Images added to a finished area: cameras that stand, and the tiles whose plans change."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_workflow import crop
from workflow_runs import pending, write_config

from rsmvs.cli.run import tell_additions
from rsmvs.cli.standing import as_arguments, give_up_cameras, with_cameras_kept
from rsmvs.config import area_tiles, build, load_config
from rsmvs.errors import ConfigError, ImageError
from rsmvs.geometry.ground import to_lon_lat
from rsmvs.io.manifests import read_json
from rsmvs.io.tiepoints import read_points
from rsmvs.io.views import read_views
from rsmvs.options import AdjustOptions, AreaOptions, ImageOptions, MatchOptions, ReferenceOptions, SelectOptions
from rsmvs.simulate.tie_points import simulate_network
from rsmvs.stages.adjust import adjust_views, match_views
from rsmvs.stages.frozen import read_frozen
from rsmvs.stages.views import describe_image, index_views, select_views

DATE = "2026-06-21T10:30:00Z"


@pytest.fixture(scope="module")
def area(tiny_values: dict[str, Any]) -> AreaOptions:
    """Eight tiles, four columns of two."""
    xmin, ymin, xmax, _ = tiny_values["area"]["aoi"]
    aoi, side = [xmin, ymin, xmax, ymin + (xmax - xmin) / 2], (xmax - xmin) / 4
    return build(AreaOptions, {**tiny_values["area"], "aoi": aoi, "tile_size": side, "halo": 8.0}, "test")


def planned(folder: Path, images: list[Path], area: AreaOptions, freeze: Path | None = None) -> dict[str, bytes]:
    """The plans of the tiles as the workflow makes them of some images."""
    views = folder / "views.json"
    index_views([ImageOptions(path=str(p), date=DATE) for p in images], area, views)
    frozen = [v.id for v in read_views(freeze / "views.json")] if freeze else []
    new = [v.id for v in read_views(views) if v.id not in frozen]
    files = [folder / "matches" / f"{name}.npz" for name in new]
    for name, file in zip(new, files, strict=True):
        match_views(views, name, MatchOptions(), file, frozen=frozen)
    options = AdjustOptions(freeze=str(freeze) if freeze else None)
    adjust_views(views, files, options, folder / "adjusted" / "views.json")
    select_views(folder / "adjusted" / "views.json", area, SelectOptions(), ReferenceOptions(), folder / "plan.json")
    return {tile.name: (folder / "tiles" / tile.name / "plan.json").read_bytes() for tile in area_tiles(area)}


@pytest.fixture(scope="module")
def steps(tiny_values: dict[str, Any], area: AreaOptions, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Plans of three images; with a fourth that sees the western column of tiles, its cameras fitted to those that stand,
    and adjusted anew; with a fifth that sees the eastern one."""
    folder = tmp_path_factory.mktemp("steps")
    images = [Path(i["path"]) for i in tiny_values["images"]]
    found: dict[str, Any] = {"folder": folder, "first": planned(folder / "first", images, area)}
    shutil.copytree(folder / "first" / "adjusted", folder / "standing")
    # a little less than a column: views look from the side, and a tenth of a tile is enough to be used there
    west = crop(str(images[0]), folder / "west.tif", 0.0, column_at(images[0], area, 1) - 0.02)
    east = crop(str(images[1]), folder / "east.tif", column_at(images[1], area, 3) + 0.04, 1.0)
    found["added"] = planned(folder / "added", [*images, west], area, folder / "standing")
    found["anew"] = planned(folder / "anew", [*images, west], area)
    shutil.copytree(folder / "added" / "adjusted", folder / "later")
    found["again"] = planned(folder / "again", [*images, west, east], area, folder / "later")
    return found


def column_at(image: Path, area: AreaOptions, columns: int) -> float:
    """Where in an image, as a share of its width, so many columns of tiles end."""
    view = describe_image(ImageOptions(path=str(image)))
    assert area.aoi is not None
    x, y = area.aoi[0] + columns * area.tile_size, (area.aoi[1] + area.aoi[3]) / 2
    lon, lat = to_lon_lat(area.crs).transform(x, y)
    col, _ = view.camera.project(lon, lat, sum(view.camera.height_range) / 2)
    return float(col) / view.width


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def columns(area: AreaOptions) -> list[set[str]]:
    """Names of the tiles by column, from west to east."""
    places = sorted({tile.ix for tile in area_tiles(area)})
    return [{tile.name for tile in area_tiles(area) if tile.ix == ix} for ix in places]


def test_an_added_image_changes_the_tiles_it_sees_and_no_other(steps: dict[str, Any], area: AreaOptions) -> None:
    assert [len(column) for column in columns(area)] == [2, 2, 2, 2]
    assert changed(steps["first"], steps["added"]) == columns(area)[0]
    assert changed(steps["added"], steps["again"]) == columns(area)[3]
    assert changed(steps["first"], steps["anew"]) == set(steps["first"])  # what it would be without


def test_cameras_that_stand_do_not_move_and_new_ones_fit(steps: dict[str, Any]) -> None:
    first, added = (steps["folder"] / name / "adjusted" / "views.json" for name in ("first", "added"))
    before, after = ({v.id: v.camera.to_dict() for v in read_views(p)} for p in (first, added))
    assert all(after[name] == camera for name, camera in before.items()) and set(after) - set(before) == {"west"}
    reports = [read_json(p)["adjustment"] for p in (first, added)]
    assert all(reports[1]["views"][name] == reports[0]["views"][name] for name in before)
    new = reports[1]["views"]["west"]
    assert reports[1]["frozen"] == sorted(before) and new["batch"] == 1 and new["after"]["median_px"] < 0.3
    points = read_points(added.with_name("points.npz"))
    old = read_points(first.with_name("points.npz"))
    assert all(np.array_equal(points[k][: len(old[k])], old[k]) for k in old) and set(points["batch"]) == {0, 1}


def test_views_that_stand_hold_the_others() -> None:
    from rsmvs.adjust.network import adjust_network

    network = simulate_network(4, 200, noise_px=0.1, shift_px=4.0, seed=5)
    sensors = [s._replace(camera=network.exact[i]) if i < 3 else s for i, s in enumerate(network.sensors)]
    fixed = [s.id for s in sensors[:3]]
    result = adjust_network(network.tracks, sensors, network.height_range, AdjustOptions(mode="bias"), fixed=fixed)
    assert not result.corrections[:3].any()
    s, e = sensors[3], network.exact[3]
    given, true = (np.stack(c.project(*network.points.T), 1) for c in (s.camera, e))
    assert np.abs(given + result.corrections[3, :2] - true).mean() < 0.05 < np.abs(given - true).mean()


def test_an_image_under_an_old_name_is_refused(steps: dict[str, Any]) -> None:
    views = [describe_image(ImageOptions(path=str(steps["folder"] / "west.tif"), id="v01"))]
    with pytest.raises(ImageError, match=r"west\.tif: is not the image 'v01' of .*: its camera is another"):
        read_frozen(steps["folder"] / "standing", views)


def test_only_new_views_are_matched(steps: dict[str, Any], tiny_values: dict[str, Any], tmp_path: Path) -> None:
    images = [*tiny_values["images"], {"path": str(steps["folder"] / "west.tif"), "date": DATE}]
    config = write_config(tmp_path, tiny_values, images=images, adjust={"freeze": str(steps["folder"] / "standing")})
    assert pending(config, "--target", "adjust") == {"index_views": 1, "match_views": 1, "adjust_views": 1, "adjust": 1}


def test_cameras_are_kept_by_an_option(
    steps: dict[str, Any], tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with a copy of the folder named in the configuration: what is adjusted, and what the next addition stands on."""
    west, east = ({"path": str(steps["folder"] / f"{name}.tif"), "date": DATE} for name in ("west", "east"))
    first, added = (steps["folder"] / name / "adjusted" for name in ("first", "added"))
    shutil.copytree(first, tmp_path / "out" / "adjusted")
    config = write_config(tmp_path, tiny_values, images=[*tiny_values["images"], west])
    assert pending(config, "--target", "adjust", "--keep-cameras")["match_views"] == 1
    kept = tmp_path / "out" / "standing" / "views.json"
    assert kept.read_bytes() == (first / "views.json").read_bytes()
    shutil.copytree(added, tmp_path / "out" / "adjusted", dirs_exist_ok=True)  # the run has come that far
    assert with_cameras_kept(load_config(config)).adjust.freeze == str(kept.parent)
    assert kept.read_bytes() == (first / "views.json").read_bytes()  # an interrupted run goes on from the same cameras
    config = write_config(tmp_path, tiny_values, images=[*tiny_values["images"], west, east])
    assert with_cameras_kept(load_config(config)).adjust.freeze == str(kept.parent)
    assert kept.read_bytes() == (added / "views.json").read_bytes()
    give_up_cameras(load_config(config))
    assert not kept.parent.exists() and "all tiles are made again" in capsys.readouterr().err


def test_cameras_are_kept_from_the_first_addition_on(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    """Nothing is there to be kept, or nothing was added: the run is the one without the option."""
    config = load_config(write_config(tmp_path, tiny_values))
    assert with_cameras_kept(config) == config and as_arguments(config, []) == []
    named = load_config(write_config(tmp_path, tiny_values, adjust={"freeze": str(tmp_path / "elsewhere")}))
    with pytest.raises(ConfigError, match="names cameras already"):
        with_cameras_kept(named)
    with pytest.raises(ConfigError, match="which is given too"):
        as_arguments(named, ["--config", "a=b"])


def test_a_run_tells_what_additions_lead_to(
    steps: dict[str, Any], tiny_values: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(steps["folder"] / "standing", tmp_path / "out" / "adjusted")
    images = [*tiny_values["images"], {"path": str(steps["folder"] / "west.tif")}]
    for adjust, said in (({}, "note: 1 of 4 images are new"), ({"freeze": str(steps["folder"] / "standing")}, "")):
        tell_additions(load_config(write_config(tmp_path, tiny_values, images=images, adjust=adjust)))
        heard = capsys.readouterr().err
        assert heard.startswith(said) and bool(heard) == bool(said)
    tell_additions(load_config(write_config(tmp_path, tiny_values)))
    assert capsys.readouterr().err == ""


def test_a_folder_that_is_no_adjustment_is_refused(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    from rsmvs.config import frozen_views

    own = load_config(write_config(tmp_path, tiny_values, adjust={"freeze": str(tmp_path / "out" / "adjusted")}))
    with pytest.raises(ConfigError, match="names the folder that this run writes; copy it"):
        frozen_views(own)
    gone = load_config(write_config(tmp_path, tiny_values, adjust={"freeze": str(tmp_path / "gone")}))
    with pytest.raises(ConfigError, match=r"gone/views\.json: does not exist"):
        frozen_views(gone)
