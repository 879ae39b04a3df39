"""Point clouds: nothing lost between memory, LAZ, COPC and other readers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import copclib
import laspy
import numpy as np
import pytest
from tile_scene import AOI, AREA, CRS, height, points_at, write_scene

from rsmvs.errors import ConfigError, RsmvsError
from rsmvs.fusion.outliers import NEIGHBOURS, SIGMAS, outlying
from rsmvs.geometry.grid import Tile
from rsmvs.geometry.vertical import horizontal, product_crs
from rsmvs.io import pdal
from rsmvs.io.copc import write_copc
from rsmvs.io.pointcloud import NOISE, SCALE, Points, merge_points, point_chunks, read_points, subset, write_points
from rsmvs.options import FuseOptions, ProductOptions
from rsmvs.stages.products import pack_points
from rsmvs.stages.tile_fusion import _cleaned


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene"))


def test_point_cloud_of_the_scene(scene: Path) -> None:
    points, crs = read_points(scene / "products" / "points.laz")
    assert len(points) == json.loads((scene / "products" / "ledger.json").read_text())["points"] > 0
    x, y, z = points.xyz.T
    np.testing.assert_allclose(z, height(x, y), atol=2 * SCALE)
    xmin, ymin, xmax, ymax = AOI
    assert xmin <= x.min() and x.max() < xmax and ymin <= y.min() and y.max() < ymax
    assert len(crs.axis_info) == 3
    with laspy.open(scene / "products" / "points.laz") as src:
        header = src.header
        assert (str(header.version), header.point_format.id) == ("1.4", 7)
        assert header.global_encoding.wkt
        assert list(header.scales) == [SCALE] * 3
        assert header.point_count == header.number_of_points_by_return[0] == len(points)
        assert list(header.point_format.extra_dimension_names) == ["n_views", "confidence", "sigma_z", "vote_margin"]


def test_points_survive_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cloud = points_at(rng.uniform(315000, 315200, 1000), rng.uniform(4162000, 4162200, 1000))
    colour = rng.integers(0, 65535, (1000, 3)).astype(np.uint16)
    margin = rng.random(1000, dtype=np.float32)
    coloured = Points(**{**vars(cloud), "rgb": colour, "vote_margin": margin})
    for name, points in (("a.laz", cloud), ("b.las", coloured)):
        write_points(tmp_path / name, points, corner=(315000.3, 4161999.6), crs=product_crs(CRS))
        found, _ = read_points(tmp_path / name)
        np.testing.assert_allclose(found.xyz, points.xyz, atol=SCALE / 2 + 1e-9)
        for key in ("classification", "intensity", "n_views", "confidence", "sigma_z"):
            np.testing.assert_array_equal(getattr(found, key), getattr(points, key))
    np.testing.assert_array_equal(found.rgb, colour)
    np.testing.assert_array_equal(found.vote_margin, margin)
    assert read_points(tmp_path / "a.laz")[0].rgb is None
    with laspy.open(tmp_path / "a.laz") as src:
        assert list(src.header.offsets) == [315000.0, 4162000.0, 0.0]
    before = (tmp_path / "a.laz").read_bytes()
    write_points(tmp_path / "a.laz", cloud, corner=(315000.3, 4161999.6), crs=product_crs(CRS))
    assert (tmp_path / "a.laz").read_bytes() == before


def test_merging_moves_offsets_without_rounding_and_in_chunks(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    parts = []
    for k in range(3):
        x, y = rng.uniform(k * 200, k * 200 + 200, 700) + 315000, rng.uniform(0, 200, 700) + 4162000
        write_points(tmp_path / f"{k}.laz", points_at(x, y, seed=k), corner=(315000 + 200 * k, 4162000), crs=product_crs(CRS))
        parts.append(tmp_path / f"{k}.laz")
    bounds = (314000.0, 4161000.0, 316000.0, 4163000.0)
    assert merge_points(parts, tmp_path / "all.laz", bounds=bounds, crs=product_crs(CRS)) == 2100
    pieces = [c.xyz for c in point_chunks(tmp_path / "all.laz", 400)]
    assert max(len(p) for p in pieces) == 400
    np.testing.assert_allclose(np.concatenate(pieces), np.concatenate([read_points(p)[0].xyz for p in parts]), atol=1e-9)


def test_an_empty_cloud_is_a_file(tmp_path: Path) -> None:
    none = subset(points_at(np.zeros(5), np.zeros(5)), slice(0, 0))
    write_points(tmp_path / "none.laz", none, corner=(0, 0), crs=product_crs(CRS))
    assert len(read_points(tmp_path / "none.laz")[0]) == 0


def test_cloud_optimised_points(scene: Path, tmp_path: Path) -> None:
    ledgers = sorted((scene / "tiles").glob("*/ledger.json"))
    count = pack_points(ledgers, AREA, ProductOptions(), tmp_path / "points.copc.laz")
    plain, _ = read_points(scene / "products" / "points.laz")
    packed, crs = read_points(tmp_path / "points.copc.laz")
    assert count == len(plain) == len(packed)
    assert len(crs.axis_info) == 3
    one, other = np.lexsort(plain.xyz.T), np.lexsort(packed.xyz.T)
    for name in ("xyz", "classification", "intensity", "n_views", "confidence", "sigma_z"):
        np.testing.assert_array_equal(getattr(plain, name)[one], getattr(packed, name)[other])
    with laspy.CopcReader.open(str(tmp_path / "points.copc.laz")) as reader:  # its own reading of the octree
        assert sum(len(reader.query(level=k)) for k in range(6)) == count
        box = laspy.copc.Bounds(mins=np.array([315100.0, 4162100.0]), maxs=np.array([315180.0, 4162150.0]))
        inside = ((plain.xyz[:, :2] >= box.mins) & (plain.xyz[:, :2] <= box.maxs)).all(1)
        assert len(reader.query(bounds=box)) == inside.sum() > 0
        assert reader.header.number_of_points_by_return[0] == count
    pack_points(ledgers[::-1], AREA, ProductOptions(), tmp_path / "again.copc.laz")
    assert (tmp_path / "again.copc.laz").read_bytes() == (tmp_path / "points.copc.laz").read_bytes()


def test_octree_of_dense_tiles_has_no_gaps(tmp_path: Path) -> None:
    """Every node hangs on a parent, holds only points inside its cube, and finer levels hold more."""
    rng = np.random.default_rng(8)
    parts = []
    for tile in (Tile(1575, 20810, 200.0), Tile(1576, 20810, 200.0), Tile(1578, 20812, 200.0)):
        xmin, ymin, xmax, ymax = tile.bounds
        cloud = points_at(rng.uniform(xmin, xmax, 150_000), rng.uniform(ymin, ymax, 150_000))
        write_points(tmp_path / f"{tile.name}.laz", cloud, corner=tile.bounds[:2], crs=product_crs(CRS))
        parts.append((tile, tmp_path / f"{tile.name}.laz"))
    bounds = (315000.0, 4162000.0, 315801.0, 4162601.0)
    assert write_copc(parts, tmp_path / "dense.copc.laz", bounds=bounds, crs=product_crs(CRS)) == 450_000
    reader = copclib.FileReader(str(tmp_path / "dense.copc.laz"))
    info, nodes = reader.copc_config.copc_info, reader.GetAllNodes()
    keys = {(n.key.d, n.key.x, n.key.y, n.key.z): n for n in nodes}
    for d, x, y, z in keys:
        assert d == 0 or (d - 1, x >> 1, y >> 1, z >> 1) in keys
    corner = np.array([info.center_x, info.center_y, info.center_z]) - info.halfsize
    for (d, *place), node in keys.items():
        points = reader.GetPoints(node)
        xyz = np.stack([points.x, points.y, points.z], 1)
        side = 2 * info.halfsize / 2**d
        assert (np.abs((xyz - corner) / side - np.array(place) - 0.5) <= 0.5 + 1e-4).all()
    per_level = [sum(n.point_count for k, n in keys.items() if k[0] == d) for d in range(max(k[0] for k in keys) + 1)]
    assert per_level == sorted(per_level)
    assert max(n.point_count for n in nodes) < 60_000


needs_pdal = pytest.mark.skipif(shutil.which("pdal") is None, reason="the command pdal is not installed (.ci/install_pdal.sh)")
FIELDS = ("classification", "intensity", "rgb", "n_views", "confidence", "sigma_z", "vote_margin")


def _rich(tile: Tile, seed: int) -> Points:
    """Points of a tile with all that a file can hold: every class, colours, margins."""
    rng = np.random.default_rng(seed)
    xmin, ymin, xmax, ymax = tile.bounds
    cloud = points_at(rng.uniform(xmin, xmax, 4000), rng.uniform(ymin, ymax, 4000), seed=seed)
    return replace(
        cloud, classification=rng.choice([1, 2, 5, 6, 9, 17, 7], 4000).astype(np.uint8),
        rgb=rng.integers(1, 65535, (4000, 3)).astype(np.uint16), vote_margin=rng.random(4000, dtype=np.float32),
    )  # fmt: skip


def _same(before: Points, after: Points) -> None:
    one, other = np.lexsort(before.xyz.T), np.lexsort(after.xyz.T)
    np.testing.assert_allclose(before.xyz[one], after.xyz[other], atol=1e-6)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(before, name)[one], getattr(after, name)[other], err_msg=name)


@needs_pdal
def test_points_survive_pdal(tmp_path: Path) -> None:
    """What PDAL sees in our COPC file, what it makes of it as LAZ, and what a COPC file of that holds again."""
    tile = Tile(1575, 20810, 200.0)
    write_points(tmp_path / "tile.laz", _rich(tile, 3), corner=tile.bounds[:2], crs=product_crs(CRS))
    write_copc([(tile, tmp_path / "tile.laz")], tmp_path / "a.copc.laz", bounds=tile.bounds, crs=product_crs(CRS))

    def pdal(*words: str) -> str:
        return subprocess.run(["pdal", *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    summary = json.loads(pdal("info", "--summary", "--driver", "readers.las", "a.copc.laz"))["summary"]
    assert summary["num_points"] == 4000
    dimensions = {name.strip() for name in summary["dimensions"].split(",")}
    assert {"Classification", "Intensity", "Red", "n_views", "confidence", "sigma_z", "vote_margin"} <= dimensions
    assert "UTM zone 37N" in summary["srs"]["wkt"] and "ellipsoidal height" in summary["srs"]["wkt"].lower()
    assert summary["srs"]["units"] == {"horizontal": "metre", "vertical": "metre"}
    kept = ["--writers.las.extra_dims=all", "--writers.las.minor_version=4", "--writers.las.dataformat_id=7",
            "--writers.las.forward=all"]  # fmt: skip
    pdal("translate", "-r", "readers.las", "a.copc.laz", "b.laz", *kept)
    (before, crs), (after, crs_after) = read_points(tmp_path / "a.copc.laz"), read_points(tmp_path / "b.laz")
    _same(before, after)
    assert len(crs_after.axis_info) == 3 and horizontal(crs_after).equals(horizontal(crs), ignore_axis_order=True)
    write_copc([(tile, tmp_path / "b.laz")], tmp_path / "back.copc.laz", bounds=tile.bounds, crs=crs_after)
    back, crs_back = read_points(tmp_path / "back.copc.laz")
    _same(before, back)
    assert horizontal(crs_back).equals(horizontal(crs), ignore_axis_order=True) and len(crs_back.axis_info) == 3
    with laspy.CopcReader.open(str(tmp_path / "back.copc.laz")) as reader:
        assert len(reader.query()) == 4000


def _roof_with_strays() -> np.ndarray:
    rng = np.random.default_rng(6)
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, 60, 0.5), np.arange(0, 50, 0.5)))
    roof = (x > 20) & (x < 40) & (y > 10) & (y < 30)
    surface = np.stack([x + 315000, y + 4162000, np.where(roof, 912.0, 900.0) + rng.normal(0, 0.1, len(x))], 1)
    stray = np.stack([rng.uniform(315000, 315060, 400), rng.uniform(4162000, 4162050, 400), rng.uniform(890, 990, 400)], 1)
    return np.round(np.concatenate([surface, stray]), 3)


@needs_pdal
def test_pdal_and_scipy_find_the_same_noise() -> None:
    xyz = _roof_with_strays()
    theirs = pdal.outlying(xyz, NEIGHBOURS, SIGMAS)
    assert 200 < theirs.sum() < 500
    np.testing.assert_array_equal(theirs, outlying(xyz))
    assert not pdal.outlying(xyz[:5], NEIGHBOURS, SIGMAS).any()


@needs_pdal
def test_cleaning_by_either_gives_the_same_cloud() -> None:
    xyz = _roof_with_strays()
    points = replace(points_at(xyz[:, 0], xyz[:, 1]), xyz=xyz)
    for outliers in ("mark", "remove"):
        held = np.zeros(len(xyz), bool)
        one, other = (_cleaned(points, held, FuseOptions(outliers=outliers, cleaner=c)) for c in ("pdal", "scipy"))
        assert len(one) == len(other) == (len(xyz) if outliers == "mark" else len(xyz) - outlying(xyz).sum())
        np.testing.assert_array_equal(one.classification, other.classification)
        assert (one.classification == NOISE).any() == (outliers == "mark")


def test_noise_is_kept_as_a_class_on_request() -> None:
    xyz = _roof_with_strays()
    points = replace(points_at(xyz[:, 0], xyz[:, 1]), xyz=xyz)
    marked = _cleaned(points, np.zeros(len(xyz), bool), FuseOptions(outliers="mark", cleaner="scipy"))
    np.testing.assert_array_equal(marked.classification == NOISE, outlying(xyz))
    rest = ~outlying(xyz)
    np.testing.assert_array_equal(marked.classification[rest], points.classification[rest])
    assert _cleaned(points, np.zeros(len(xyz), bool), FuseOptions(outliers="keep")) is points


def test_a_missing_or_old_pdal_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    xyz = _roof_with_strays()
    points = replace(points_at(xyz[:, 0], xyz[:, 1]), xyz=xyz)
    assert len(_cleaned(points, np.zeros(len(xyz), bool), FuseOptions())) < len(points)  # auto: scipy does it
    with pytest.raises(ConfigError, match=r"pdal: the command is not found.*fuse\.cleaner"):
        _cleaned(points, np.zeros(len(xyz), bool), FuseOptions(cleaner="pdal"))
    _command(tmp_path, "import sys; print('writers.las   LAS'); sys.exit('PDAL: broken' if 'pipeline' in sys.argv else 0)")
    with pytest.raises(ConfigError, match=r"products\.copc: the installed pdal has no writer.*2\.4"):
        pdal.write_copc([], tmp_path / "a.copc.laz", bounds=(0, 0, 1, 1), crs=product_crs(CRS))
    with pytest.raises(RsmvsError, match=r"pdal: failed \(PDAL: broken\)"):
        _cleaned(points, np.zeros(len(xyz), bool), FuseOptions(cleaner="pdal"))
    assert [p.name for p in tmp_path.iterdir()] == ["pdal"]


def _command(folder: Path, program: str) -> None:
    """A stand-in for pdal."""
    (folder / "pdal").write_text(f"#!{sys.executable}\n{program}\n")
    (folder / "pdal").chmod(0o755)


def test_pdal_gets_the_points_of_the_scene_to_write(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's PDAL has no writer of COPC: a stand-in that copies its input shows what is asked of one that has."""
    _command(tmp_path, "import json, shutil, sys\nif '--drivers' in sys.argv: print('writers.copc  COPC'); sys.exit()\n"
                       "source, writer = json.load(sys.stdin)\nassert writer['type'] == 'writers.copc'\n"
                       "assert writer['forward'] == 'all'\nshutil.copy(source, writer['filename'])")  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    ledgers = sorted((scene / "tiles").glob("*/ledger.json"))
    count = pack_points(ledgers, AREA, ProductOptions(copc="pdal"), tmp_path / "points.copc.laz")
    assert count == len(read_points(tmp_path / "points.copc.laz")[0]) == len(read_points(scene / "products" / "points.laz")[0])


def test_points_that_stand_alone_are_found() -> None:
    rng = np.random.default_rng(6)
    x, y = (v.ravel() for v in np.meshgrid(np.arange(0, 60, 0.5), np.arange(0, 50, 0.5)))
    roof = (x > 20) & (x < 40) & (y > 10) & (y < 30)
    surface = np.stack([x + 315000, y + 4162000, np.where(roof, 912.0, 900.0) + rng.normal(0, 0.1, len(x))], 1)
    lonely = np.stack([rng.uniform(315000, 315060, 40), rng.uniform(4162000, 4162050, 40), rng.uniform(925, 990, 40)], 1)
    wrong = outlying(np.concatenate([surface, lonely]))
    assert wrong[len(surface) :].all()
    assert wrong[: len(surface)].mean() < 1e-3  # roofs with their edges stay
    assert not outlying(surface[:5]).any()
