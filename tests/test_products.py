"""Products by construction: tiles with known heights put together, standards kept, loss told."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import copclib
import laspy
import numpy as np
import pyproj
import pytest
import rasterio
from rio_cogeo.cogeo import cog_validate

from rsmvs.config import area_tiles, scene_grid
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.fusion.filling import filled
from rsmvs.geometry.grid import Grid, Tile
from rsmvs.geometry.vertical import horizontal, product_crs
from rsmvs.io.copc import write_copc
from rsmvs.io.geoid import find_geoid
from rsmvs.io.manifests import write_json
from rsmvs.io.pointcloud import SCALE, Points, merge_points, point_chunks, read_points, subset, write_points
from rsmvs.io.raster import NODATA, write_raster
from rsmvs.options import AreaOptions, LedgerOptions, ProductOptions
from rsmvs.stages.products import derive_surfaces, mosaic_scene, pack_points, read_tile, verdict

CRS = "EPSG:32637"
AOI = (315012.0, 4162003.0, 315590.0, 4162497.5)
AREA = AreaOptions(crs=CRS, aoi=AOI, resolution=0.5, tile_size=200.0)


def _height(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (900 + 0.05 * (x - 315000) - 0.03 * (y - 4162000)).astype(np.float32)


def _centres(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    x = grid.x0 + (np.arange(grid.width) + 0.5) * grid.step
    y = grid.y0 - (np.arange(grid.height) + 0.5) * grid.step
    return tuple(np.meshgrid(x, y))  # type: ignore[return-value]


def _points(x: np.ndarray, y: np.ndarray, n: int = 500, seed: int = 0) -> Points:
    rng = np.random.default_rng(seed)
    return Points(
        np.stack([x, y, _height(x, y)], 1).astype(np.float64),
        rng.choice([1, 2, 6], len(x)).astype(np.uint8),
        rng.integers(0, 4000, len(x)).astype(np.uint16),
        rng.integers(1, 6, len(x)).astype(np.uint8),
        rng.random(len(x), dtype=np.float32),
        rng.random(len(x), dtype=np.float32),
    )


def _write_tile(folder: Path, tile: Tile, status: str = "ok", reason: str = "") -> Path:
    """The files of one tile as the fusion of a tile leaves them."""
    folder = folder / tile.name
    products = {}
    if status == "ok":
        grid = Grid.covering(tile.bounds, AREA.resolution)
        x, y = _centres(grid)
        dsm = _height(x, y)
        dsm[10:20, 30:40] = np.nan  # a hole
        views = np.where(np.isnan(dsm), 0, 3).astype(np.uint8)
        confidence = np.where(np.isnan(dsm), np.nan, 0.75).astype(np.float32)
        ortho = (x % 1000).astype(np.uint16)
        for name, values, nodata in (("dsm", dsm, NODATA), ("n_views", views, None), ("confidence", confidence, NODATA),
                                     ("ortho", ortho, 0)):  # fmt: skip
            write_raster(folder / f"{name}.tif", [values], grid=grid, crs=CRS, nodata=nodata)
            products[name] = f"{name}.tif"
        cloud = _points(x[::20, ::20].ravel(), y[::20, ::20].ravel())
        write_points(folder / "points.laz", cloud, corner=tile.bounds[:2], crs=product_crs(CRS))
        products["points"] = "points.laz"
    write_json(folder / "ledger.json", {"tile": tile.name, "status": status, "reason": reason, "products": products})
    return folder / "ledger.json"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products of twelve tiles, one of them empty, one failed."""
    folder = tmp_path_factory.mktemp("scene")
    ledgers = []
    for i, tile in enumerate(area_tiles(AREA)):
        status, reason = {2: ("empty", "no two views see it"), 5: ("failed", "out of memory")}.get(i, ("ok", ""))
        ledgers.append(_write_tile(folder / "tiles", tile, status, reason))
    mosaic_scene(ledgers[::-1], AREA, ProductOptions(), folder / "products")
    return folder


def test_mosaic_has_every_cell_on_its_place(scene: Path) -> None:
    with rasterio.open(scene / "products" / "dsm.tif") as src:
        dsm, transform = src.read(1, masked=True), src.transform
    grid = scene_grid(AREA)
    assert (transform.c, transform.f, dsm.shape) == (grid.x0, grid.y0, grid.shape)
    assert grid.bounds == AOI  # the corners lie on multiples of the resolution
    x, y = _centres(grid)
    lost = np.zeros(grid.shape, bool)
    for tile in [area_tiles(AREA)[i] for i in (2, 5)]:
        xmin, ymin, xmax, ymax = tile.bounds
        lost |= (x > xmin) & (x < xmax) & (y > ymin) & (y < ymax)
    assert dsm.mask[lost].all()
    kept = ~dsm.mask
    np.testing.assert_allclose(dsm.data[kept], _height(x, y)[kept], atol=1e-3)
    assert kept.sum() > 0.97 * (~lost).sum()


@pytest.mark.parametrize("name", ["dsm", "n_views", "confidence", "ortho", "status"])
def test_rasters_keep_the_standard(scene: Path, name: str) -> None:
    path = scene / "products" / f"{name}.tif"
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as src:
        crs = pyproj.CRS.from_wkt(src.crs.to_wkt())
        assert len(crs.axis_info) == 3, "no vertical part"
        assert crs.to_2d().to_epsg() == 32637
        assert src.tags()["AREA_OR_POINT"] == "Area"
        assert src.tags()["VERTICAL_DATUM"] == "WGS 84 ellipsoid"
        assert src.descriptions[0] and src.units[0]
        assert src.overviews(1)
        assert src.block_shapes == [(512, 512)]
        assert src.compression.name == "deflate"
        floats = src.dtypes[0] == "float32"
        assert src.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == ("3" if floats else "2")
        assert src.nodata == {"dsm": NODATA, "confidence": NODATA, "ortho": 0, "n_views": None, "status": None}[name]


def test_ledger_tells_what_was_lost(scene: Path) -> None:
    ledger = json.loads((scene / "products" / "ledger.json").read_text())
    assert ledger["counts"] == {"ok": 7, "empty": 1, "failed": 1}
    assert ledger["reasons"] == {"empty: no two views see it": 1, "failed: out of memory": 1}
    with rasterio.open(scene / "products" / "dsm.tif") as src:
        assert ledger["valid_cells"] == int((src.read_masks(1) > 0).sum())
    good, line = verdict(scene / "products" / "ledger.json", LedgerOptions())
    assert not good
    assert "1 failed" in line and "out of memory" in line
    assert verdict(scene / "products" / "ledger.json", LedgerOptions(max_failed=0.2))[0]


def test_point_cloud_of_the_scene(scene: Path) -> None:
    points, crs = read_points(scene / "products" / "points.laz")
    assert len(points) == json.loads((scene / "products" / "ledger.json").read_text())["points"] > 0
    x, y, z = points.xyz.T
    np.testing.assert_allclose(z, _height(x, y), atol=2 * SCALE)
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


def test_same_tiles_give_the_same_bytes(scene: Path, tmp_path: Path) -> None:
    ledgers = sorted((scene / "tiles").glob("*/ledger.json"))
    mosaic_scene(ledgers, AREA, ProductOptions(), tmp_path)
    for path in (scene / "products").iterdir():
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256((tmp_path / path.name).read_bytes()).digest(), path
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in (scene / "products").iterdir())


def test_a_scene_without_any_tile_is_empty_not_missing(tmp_path: Path) -> None:
    ledgers = [_write_tile(tmp_path / "tiles", t, "empty", "no view") for t in area_tiles(AREA)]
    ledger = mosaic_scene(ledgers, AREA, ProductOptions(), tmp_path)
    assert (ledger["valid_cells"], ledger["points"], ledger["completeness"]) == (0, 0, 0.0)
    with rasterio.open(tmp_path / "dsm.tif") as src:
        assert not src.read_masks(1).any()
    assert len(read_points(tmp_path / "points.laz")[0]) == 0


def test_points_survive_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cloud = _points(rng.uniform(315000, 315200, 1000), rng.uniform(4162000, 4162200, 1000))
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
        write_points(tmp_path / f"{k}.laz", _points(x, y, seed=k), corner=(315000 + 200 * k, 4162000), crs=product_crs(CRS))
        parts.append(tmp_path / f"{k}.laz")
    bounds = (314000.0, 4161000.0, 316000.0, 4163000.0)
    assert merge_points(parts, tmp_path / "all.laz", bounds=bounds, crs=product_crs(CRS)) == 2100
    pieces = [c.xyz for c in point_chunks(tmp_path / "all.laz", 400)]
    assert max(len(p) for p in pieces) == 400
    np.testing.assert_allclose(np.concatenate(pieces), np.concatenate([read_points(p)[0].xyz for p in parts]), atol=1e-9)


def test_an_empty_cloud_is_a_file(tmp_path: Path) -> None:
    none = subset(_points(np.zeros(5), np.zeros(5)), slice(0, 0))
    write_points(tmp_path / "none.laz", none, corner=(0, 0), crs=product_crs(CRS))
    assert len(read_points(tmp_path / "none.laz")[0]) == 0


def _geoid_grid(path: Path) -> Path:
    """A plane of undulations, 20 + lon - 2 (lat - 37), as PROJ reads it."""
    lon, lat = np.meshgrid(np.arange(35.5, 38.51, 0.25), np.arange(39.0, 35.99, -0.25))
    transform = rasterio.transform.from_origin(35.375, 39.125, 0.25, 0.25)
    profile = {"driver": "GTiff", "width": lon.shape[1], "height": lon.shape[0], "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:4326", transform=transform, **profile) as dst:
        dst.write((20 + lon - 2 * (lat - 37)).astype(np.float32), 1)
        dst.update_tags(AREA_OR_POINT="Point", TYPE="VERTICAL_OFFSET_GEOGRAPHIC_TO_VERTICAL")
        dst.set_band_description(1, "geoid_undulation")
        dst.set_band_unit(1, "metre")
    return path


def test_heights_above_a_geoid(scene: Path, tmp_path: Path) -> None:
    options = ProductOptions(vertical="egm96", geoid=str(_geoid_grid(tmp_path / "geoid grid.tif")))
    mosaic_scene(sorted((scene / "tiles").glob("*/ledger.json")), AREA, options, tmp_path)
    with rasterio.open(scene / "products" / "dsm.tif") as a, rasterio.open(tmp_path / "dsm.tif") as b:
        lowered = a.read(1, masked=True) - b.read(1, masked=True)
        crs = pyproj.CRS.from_wkt(b.crs.to_wkt())
        assert b.tags()["VERTICAL_DATUM"] == "EGM96 geoid"
    assert crs.sub_crs_list[1].to_epsg() == 5773
    x, y = _centres(scene_grid(AREA))
    lon, lat = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    np.testing.assert_allclose(lowered.compressed(), (20 + lon - 2 * (lat - 37))[~lowered.mask], atol=1e-3)
    above, crs = read_points(tmp_path / "points.laz")
    geoid = 20 + lon.mean() - 2 * (lat.mean() - 37)
    np.testing.assert_allclose(above.xyz[:, 2], _height(*above.xyz[:, :2].T) - geoid, atol=0.02)
    assert crs.sub_crs_list[1].to_epsg() == 5773


def test_status_says_why_cells_are_empty(scene: Path) -> None:
    with rasterio.open(scene / "products" / "status.tif") as src, rasterio.open(scene / "products" / "dsm.tif") as dsm:
        status, valid = src.read(1), dsm.read_masks(1) > 0
        assert src.colormap(1)[3][:3] == (200, 50, 50)
        assert src.tags(1)["CODE_3"] == "tile failed"
    assert ((status == 0) == valid).all()
    x, y = _centres(scene_grid(AREA))
    for index, code in ((2, 2), (5, 3)):
        xmin, ymin, xmax, ymax = area_tiles(AREA)[index].bounds
        assert (status[(x > xmin) & (x < xmax) & (y > ymin) & (y < ymax)] == code).all()
    assert (status == 1).sum() > 0


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
        cloud = _points(rng.uniform(xmin, xmax, 150_000), rng.uniform(ymin, ymax, 150_000))
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


def test_holes_are_filled_and_told(tmp_path: Path) -> None:
    surface = np.full((60, 80), 100.0, np.float32) + np.arange(80, dtype=np.float32)
    ground = surface - 10
    holes = np.zeros(surface.shape, bool)
    holes[10:13, 10:14] = True  # narrow
    holes[20:50, 30:65] = True  # wide
    out, code = filled(np.where(holes, np.nan, surface), ground, reach=3)
    assert (out[~holes] == surface[~holes]).all() and (code[~holes] == 0).all()
    assert (code[10:13, 10:14] == 1).all()
    np.testing.assert_allclose(out[10:13, 10:14], surface[10:13, 10:14], atol=1.0)
    np.testing.assert_allclose(out[30:40, 45:50], ground[30:40, 45:50])
    assert (code[30:40, 45:50] == 2).all()
    nothing, code = filled(np.full((9, 9), np.nan), np.full((9, 9), np.nan), 3)
    assert np.isnan(nothing).all() and (code == 3).all()


def test_derived_surfaces_of_a_town(tmp_path: Path) -> None:
    """Terrain under boxes: the boxes stand on the ground with their height, and no cell is left unfilled."""
    grid = Grid(315000.0, 4162200.0, 0.5, 600, 400)
    x, y = _centres(grid)
    ground = (500 + 0.02 * (x - 315000) + 1.5 * np.sin((y - 4162000) / 60)).astype(np.float32)
    boxes = ((x - 315000) % 60 < 15) & ((y - 4162000) % 50 < 12) & (x - 315000 > 20) & (x - 315000 < 280)
    dsm = ground + np.where(boxes, 9.0, 0.0).astype(np.float32)
    dsm[100:106, 200:206] = np.nan
    write_raster(tmp_path / "dsm.tif", [dsm], grid=grid, crs=CRS, nodata=NODATA, tags={"VERTICAL_DATUM": "EGM96 geoid"})
    derive_surfaces(tmp_path / "dsm.tif", ProductOptions(), tmp_path)
    layers = {}
    for name in ("dtm", "ndsm", "dsm_filled", "filling"):
        assert cog_validate(tmp_path / f"{name}.tif", strict=True)[0]
        with rasterio.open(tmp_path / f"{name}.tif") as src:
            layers[name] = src.read(1, masked=True)
            assert src.tags()["VERTICAL_DATUM"] == "EGM96 geoid"
    assert np.abs(layers["dtm"] - ground).mean() < 0.5
    assert np.median(layers["ndsm"][boxes].compressed()) == pytest.approx(9.0, abs=0.7)
    assert abs(np.median(layers["ndsm"][~boxes].compressed())) < 0.3
    assert not layers["dsm_filled"].mask.any()
    assert (layers["filling"][100:106, 200:206] == 1).all()


def test_a_missing_geoid_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJ_DATA", str(tmp_path))
    monkeypatch.setattr(pyproj.datadir, "get_data_dir", lambda: str(tmp_path))
    monkeypatch.setattr(pyproj.datadir, "get_user_data_dir", lambda: str(tmp_path))
    with pytest.raises(ConfigError, match=r"us_nga_egm08_25\.tif.*projsync"):
        find_geoid("egm2008")
    with pytest.raises(ConfigError, match=r"nowhere\.gtx.*does not exist"):
        find_geoid("egm96", str(tmp_path / "nowhere.gtx"))
    (tmp_path / "text.gtx").write_text("no grid")
    with pytest.raises(ConfigError, match=r"text\.gtx"):
        find_geoid("egm96", str(tmp_path / "text.gtx"))
    far = find_geoid("egm96", str(_geoid_grid(tmp_path / "g.tif")))
    with pytest.raises(ConfigError, match="does not cover"):
        far.undulation(120.0, 10.0)


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"area\.tile_size.*no multiple"):
        area_tiles(AreaOptions(crs=CRS, aoi=AOI, resolution=0.6, tile_size=200.0))
    with pytest.raises(ConfigError, match="not projected"):
        product_crs("EPSG:4326")
    tile = area_tiles(AREA)[0]
    ledger = _write_tile(tmp_path, tile)
    finer = AreaOptions(crs=CRS, aoi=AOI, resolution=0.25, tile_size=200.0)
    with pytest.raises(ManifestError, match=r"dsm\.tif.*cells of the scene"):
        mosaic_scene([ledger], finer, ProductOptions(), tmp_path / "out")
    assert not any((tmp_path / "out").glob("*"))
    write_json(ledger, {"tile": tile.name, "status": "done"})
    with pytest.raises(ManifestError, match="status 'done'"):
        read_tile(ledger)
