"""Products by construction: tiles with known heights put together, standards kept, loss told."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.shutil import copy as copy_raster
from rio_cogeo.cogeo import cog_validate
from tile_scene import AOI, AREA, CRS, centres, height, write_scene, write_tile

from rsmvs.config import area_tiles, scene_grid
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.fusion.filling import filled
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.vertical import product_crs
from rsmvs.io.class_names import side_file
from rsmvs.io.geoid import find_geoid
from rsmvs.io.layers import ALL, Layer
from rsmvs.io.manifests import write_json
from rsmvs.io.pointcloud import read_points
from rsmvs.io.raster import NODATA, write_raster
from rsmvs.options import AreaOptions, LedgerOptions, ProductOptions
from rsmvs.stages import products
from rsmvs.stages.products import derive_surfaces, mosaic_scene, pack_points
from rsmvs.stages.report import picture_scene
from rsmvs.stages.scene_ledger import read_tile, verdict


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene"))


def test_mosaic_has_every_cell_on_its_place(scene: Path) -> None:
    with rasterio.open(scene / "products" / "dsm.tif") as src:
        dsm, transform = src.read(1, masked=True), src.transform
    grid = scene_grid(AREA)
    assert (transform.c, transform.f, dsm.shape) == (grid.x0, grid.y0, grid.shape)
    assert grid.bounds == AOI  # the corners lie on multiples of the resolution
    x, y = centres(grid)
    lost = np.zeros(grid.shape, bool)
    for tile in [area_tiles(AREA)[i] for i in (2, 5)]:
        xmin, ymin, xmax, ymax = tile.bounds
        lost |= (x > xmin) & (x < xmax) & (y > ymin) & (y < ymax)
    assert dsm.mask[lost].all()
    kept = ~dsm.mask
    np.testing.assert_allclose(dsm.data[kept], height(x, y)[kept], atol=1e-3)
    assert kept.sum() > 0.97 * (~lost).sum()


@pytest.fixture(scope="module")
def rasters(scene: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All raster products by name."""
    folder = tmp_path_factory.mktemp("derived")
    derive_surfaces(scene / "products" / "dsm.tif", ProductOptions(), folder)
    return {path.stem: path for part in (scene / "products", folder) for path in part.glob("*.tif")}


def test_every_layer_is_written(rasters: dict[str, Path]) -> None:
    assert set(rasters) == {layer.name for layer in ALL}


@pytest.mark.parametrize("layer", ALL, ids=[layer.name for layer in ALL])
def test_rasters_keep_the_standard(rasters: dict[str, Path], layer: Layer, tmp_path: Path) -> None:
    """A strict COG, and what GIS programs look at: CRS with heights, no data, names, units, palette, overviews."""
    path = rasters[layer.name]
    valid, errors, warnings = cog_validate(path, strict=True)
    assert (valid, errors, warnings) == (True, [], [])
    assert side_file(path).exists() == bool(layer.codes)
    path = shutil.copy(path, tmp_path)  # a side file is lost when the raster is copied: nothing else may stand in it
    with rasterio.open(path) as src:
        crs = pyproj.CRS.from_wkt(src.crs.to_wkt())
        assert len(crs.axis_info) == 3, "no vertical part"
        assert crs.sub_crs_list[1].datum.name == "World Geodetic System 1984"
        assert crs.to_2d().to_epsg() == 32637
        assert src.tags()["AREA_OR_POINT"] == "Area"
        assert src.tags()["VERTICAL_DATUM"] == "WGS 84 ellipsoid"
        assert (src.descriptions[0], src.units[0]) == (layer.band, layer.unit)
        assert src.overviews(1)
        assert src.block_shapes == [(512, 512)]
        assert src.compression.name == "deflate"
        floats = src.dtypes[0] == "float32"
        assert src.tags(ns="IMAGE_STRUCTURE")["PREDICTOR"] == ("3" if floats else "2")
        assert src.nodata == (NODATA if floats else 0 if layer.name in ("ortho", "semantic", "class_votes") else None)
        values = src.read(1, masked=True)
        small = src.read(1, masked=True, out_shape=(src.height // 2, src.width // 2))  # an overview
        if layer.codes:
            assert src.colorinterp[0].name == "palette"
            palette = src.colormap(1)
            known = {c.value: c for c in layer.codes}
            assert set(np.unique(values.compressed())) <= set(known)
            assert set(np.unique(small.compressed())) <= set(known), "codes were averaged"
            for value, code in known.items():
                assert palette[value][:3] == code.colour and src.tags(1)[f"CODE_{value}"] == code.name
        else:
            assert small.compressed().min() >= values.compressed().min() - 1e-3  # no data did not leak into the averages


@pytest.mark.parametrize("layer", [layer for layer in ALL if layer.codes], ids=lambda layer: layer.name)
def test_gdal_finds_the_names_of_codes(rasters: dict[str, Path], layer: Layer, tmp_path: Path) -> None:
    """GDAL writes what it knows of a raster's categories into a VRT; its tables it leaves where they are."""
    path = rasters[layer.name]
    copy_raster(path, tmp_path / "a.vrt", driver="VRT")
    found = [c.text or "" for c in ElementTree.parse(tmp_path / "a.vrt").iterfind("VRTRasterBand/CategoryNames/Category")]
    assert {i: name for i, name in enumerate(found) if name} == {c.value: c.name for c in layer.codes}
    table = ElementTree.parse(side_file(path)).find("PAMRasterBand/GDALRasterAttributeTable")
    assert table is not None and table.get("tableType") == "thematic"
    usages = [int(column.findtext("Usage", "")) for column in table.iterfind("FieldDefn")]
    assert usages == [5, 2, 6, 7, 8]  # gdal.h: GFU_MinMax, Name, Red, Green, Blue
    rows = [tuple(f.text for f in row.iterfind("F")) for row in table.iterfind("Row")]
    assert rows == [(str(c.value), c.name, *map(str, c.colour)) for c in layer.codes]


def test_ledger_tells_what_was_lost(scene: Path) -> None:
    ledger = json.loads((scene / "products" / "ledger.json").read_text())
    assert ledger["counts"] == {"ok": 7, "empty": 1, "failed": 1}
    assert ledger["reasons"] == {"empty: no two views see it": 1, "failed: out of memory": 1}
    notes = [tile["notes"] for tile in ledger["tiles"].values()]
    assert notes.count(["matched in smaller windows"]) == 1 and notes.count([]) == 8
    with rasterio.open(scene / "products" / "dsm.tif") as src:
        assert ledger["valid_cells"] == int((src.read_masks(1) > 0).sum())
    good, line = verdict(scene / "products" / "ledger.json", LedgerOptions())
    assert not good
    assert "1 failed" in line and "out of memory" in line
    assert verdict(scene / "products" / "ledger.json", LedgerOptions(max_failed=0.2))[0]


def test_same_tiles_give_the_same_bytes(scene: Path, tmp_path: Path) -> None:
    ledgers = sorted((scene / "tiles").glob("*/ledger.json"))
    mosaic_scene(ledgers, AREA, ProductOptions(), tmp_path, classes=True)
    for path in (scene / "products").iterdir():
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256((tmp_path / path.name).read_bytes()).digest(), path
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in (scene / "products").iterdir())


def test_an_ortho_in_colour_keeps_its_bands(scene: Path, tmp_path: Path) -> None:
    tile = area_tiles(AREA)[0]
    ledger = write_tile(tmp_path / "tiles", tile)
    with rasterio.open(ledger.parent / "ortho.tif") as src:
        grey = src.read(1)
    colour = [grey, grey // 2, grey // 3]
    names = ("red", "green", "blue")
    grid = Grid.covering(tile.bounds, AREA.resolution)
    write_raster(ledger.parent / "ortho.tif", colour, grid=grid, crs=CRS, nodata=0, names=names)
    mosaic_scene([ledger], AREA, ProductOptions(), tmp_path)
    assert cog_validate(tmp_path / "ortho.tif", strict=True)[0]
    with rasterio.open(tmp_path / "ortho.tif") as src:
        assert src.descriptions == names
        assert src.colorinterp[0].name == "red"
        red, _, blue = src.read()
    assert (blue == red // 3).all() and red.any()
    picture_scene(tmp_path / "dsm.tif", tmp_path / "ortho.tif", tmp_path / "p.png")
    with rasterio.open(tmp_path / "p.png") as src:
        assert src.count == 3


def test_grey_tiles_go_into_all_bands_of_a_colour_ortho(tmp_path: Path) -> None:
    ledgers = [write_tile(tmp_path / "tiles", tile) for tile in area_tiles(AREA)[:2]]
    with rasterio.open(ledgers[1].parent / "ortho.tif") as src:
        grey = src.read(1).astype(np.uint8)
    grid = Grid.covering(area_tiles(AREA)[1].bounds, AREA.resolution)
    write_raster(ledgers[1].parent / "ortho.tif", [grey, grey // 2, grey // 4], grid=grid, crs=CRS, nodata=0,
                 names=("red", "green", "blue"))  # fmt: skip
    mosaic_scene(ledgers, AREA, ProductOptions(), tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "ortho.tif") as src:
        assert (src.count, src.dtypes[0], src.descriptions) == (3, "uint16", ("red", "green", "blue"))
        red, _, blue = src.read()
    assert ((red == blue) & (red > 0)).sum() > 10_000 and ((red // 4 == blue) & (red > blue)).sum() > 10_000


def test_a_scene_without_any_tile_is_empty_not_missing(tmp_path: Path) -> None:
    ledgers = [write_tile(tmp_path / "tiles", t, "empty", "no view") for t in area_tiles(AREA)]
    ledger = mosaic_scene(ledgers, AREA, ProductOptions(), tmp_path)
    assert (ledger["valid_cells"], ledger["points"], ledger["completeness"]) == (0, 0, 0.0)
    with rasterio.open(tmp_path / "dsm.tif") as src:
        assert not src.read_masks(1).any()
    assert len(read_points(tmp_path / "points.laz")[0]) == 0


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
    x, y = centres(scene_grid(AREA))
    lon, lat = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    np.testing.assert_allclose(lowered.compressed(), (20 + lon - 2 * (lat - 37))[~lowered.mask], atol=1e-3)
    above, crs = read_points(tmp_path / "points.laz")
    geoid = 20 + lon.mean() - 2 * (lat.mean() - 37)
    np.testing.assert_allclose(above.xyz[:, 2], height(*above.xyz[:, :2].T) - geoid, atol=0.02)
    assert crs.sub_crs_list[1].to_epsg() == 5773


def test_status_says_why_cells_are_empty(scene: Path) -> None:
    with rasterio.open(scene / "products" / "status.tif") as src, rasterio.open(scene / "products" / "dsm.tif") as dsm:
        status, valid = src.read(1), dsm.read_masks(1) > 0
        assert src.colormap(1)[3][:3] == (200, 50, 50)
        assert src.tags(1)["CODE_3"] == "tile failed"
    assert ((status == 0) == valid).all()
    x, y = centres(scene_grid(AREA))
    for index, code in ((2, 2), (5, 3)):
        xmin, ymin, xmax, ymax = area_tiles(AREA)[index].bounds
        assert (status[(x > xmin) & (x < xmax) & (y > ymin) & (y < ymax)] == code).all()
    assert (status == 1).sum() > 0


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
    x, y = centres(grid)
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


def test_ground_does_not_depend_on_the_blocks_it_is_made_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Houses, halls and trees on hills. With a third of the context the cloth starts elsewhere, and the 95 % are at 1.8 m."""
    grid = Grid(315000.0, 4162800.0, 1.0, 900, 700)
    x, y = centres(grid)
    x, y = x - 315000, y - 4162000
    ground = 500 + 0.05 * x + 12 * np.sin(y / 180) * np.cos(x / 230)
    houses = ((x % 60 < 15) & (y % 50 < 12)) | ((x % 170 > 100) & (x % 170 < 140) & (y % 130 > 60) & (y % 130 < 95))
    trees = np.hypot((x + 13) % 37 - 18, (y + 5) % 41 - 20) < 5
    dsm = (ground + np.where(houses, 9.0, np.where(trees, 6.0, 0.0))).astype(np.float32)
    write_raster(tmp_path / "dsm.tif", [dsm], grid=grid, crs=CRS, nodata=NODATA)
    found = []
    for size in (2048, 300):
        monkeypatch.setattr(products, "_BLOCK", size)
        derive_surfaces(tmp_path / "dsm.tif", ProductOptions(), tmp_path / str(size))
        with rasterio.open(tmp_path / str(size) / "dtm.tif") as src:
            found.append(src.read(1))
    apart = np.abs(found[0] - found[1])
    assert apart.max() > 0, "there was one block only"
    assert np.percentile(apart, 95) < 0.2 and np.percentile(apart, 99) < 1.0


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
    ledgers = [write_tile(tmp_path / "tiles", area_tiles(AREA)[0])]
    with pytest.raises(ConfigError, match=r"products\.vertical: 'egm2008' needs PROJ's grid us_nga_egm08_25\.tif"):
        mosaic_scene(ledgers, AREA, ProductOptions(vertical="egm2008"), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"us_nga_egm96_15\.tif, which is not installed.*products\.geoid"):
        pack_points(ledgers, AREA, ProductOptions(vertical="egm96"), tmp_path / "out" / "points.copc.laz")
    assert not list((tmp_path / "out").glob("*"))
    far = find_geoid("egm96", str(_geoid_grid(tmp_path / "g.tif")))
    with pytest.raises(ConfigError, match="does not cover"):
        far.undulation(120.0, 10.0)


def test_wrong_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"area\.tile_size.*no multiple"):
        area_tiles(AreaOptions(crs=CRS, aoi=AOI, resolution=0.6, tile_size=200.0))
    with pytest.raises(ConfigError, match="not projected"):
        product_crs("EPSG:4326")
    tile = area_tiles(AREA)[0]
    ledger = write_tile(tmp_path, tile)
    finer = AreaOptions(crs=CRS, aoi=AOI, resolution=0.25, tile_size=200.0)
    with pytest.raises(ManifestError, match=r"dsm\.tif.*cells of the scene"):
        mosaic_scene([ledger], finer, ProductOptions(), tmp_path / "out")
    assert not any((tmp_path / "out").glob("*"))
    write_json(ledger, {"tile": tile.name, "status": "done"})
    with pytest.raises(ManifestError, match="status 'done'"):
        read_tile(ledger)
