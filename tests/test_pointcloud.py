"""Point clouds: nothing lost between memory, LAZ, COPC and other readers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import copclib
import laspy
import numpy as np
import pytest
from tile_scene import AOI, AREA, CRS, height, points_at, write_scene

from rsmvs.fusion.outliers import outlying
from rsmvs.geometry.grid import Tile
from rsmvs.geometry.vertical import horizontal, product_crs
from rsmvs.io.copc import write_copc
from rsmvs.io.pointcloud import SCALE, Points, merge_points, point_chunks, read_points, subset, write_points
from rsmvs.options import ProductOptions
from rsmvs.stages.products import pack_points


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
        assert list(header.point_format.extra_dimension_names) == ["n_views", "confidence", "sigma_z"]


def test_points_survive_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cloud = points_at(rng.uniform(315000, 315200, 1000), rng.uniform(4162000, 4162200, 1000))
    colour = rng.integers(0, 65535, (1000, 3)).astype(np.uint16)
    coloured = Points(**{**vars(cloud), "rgb": colour})
    for name, points in (("a.laz", cloud), ("b.las", coloured)):
        write_points(tmp_path / name, points, corner=(315000.3, 4161999.6), crs=product_crs(CRS))
        found, _ = read_points(tmp_path / name)
        np.testing.assert_allclose(found.xyz, points.xyz, atol=SCALE / 2 + 1e-9)
        for key in ("classification", "intensity", "n_views", "confidence", "sigma_z"):
            np.testing.assert_array_equal(getattr(found, key), getattr(points, key))
    np.testing.assert_array_equal(found.rgb, colour)
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


@pytest.mark.skipif(shutil.which("pdal") is None, reason="the command pdal is not installed")
def test_points_survive_pdal(scene: Path, tmp_path: Path) -> None:
    pack_points(sorted((scene / "tiles").glob("*/ledger.json")), AREA, ProductOptions(), tmp_path / "a.copc.laz")
    extra = ["--writers.las.extra_dims=all", "--writers.las.minor_version=4", "--writers.las.dataformat_id=7"]
    run = ["pdal", "translate", "-r", "readers.las", "a.copc.laz", "b.laz", *extra, "--writers.las.forward=all"]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    (before, crs), (after, crs_after) = read_points(tmp_path / "a.copc.laz"), read_points(tmp_path / "b.laz")
    one, other = np.lexsort(before.xyz.T), np.lexsort(after.xyz.T)
    np.testing.assert_allclose(before.xyz[one], after.xyz[other], atol=1e-6)
    for name in ("classification", "intensity", "n_views", "confidence", "sigma_z"):
        np.testing.assert_array_equal(getattr(before, name)[one], getattr(after, name)[other])
    assert len(crs_after.axis_info) == 3 and horizontal(crs_after).equals(horizontal(crs), ignore_axis_order=True)


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
