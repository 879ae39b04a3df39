"""Readers of published data sets: files composed byte by byte, scenes whose truth is known, broken files named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from rsmvs.cli import main
from rsmvs.errors import ImageError, ManifestError, RsmvsError
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.ground_truth import GroundTruth
from rsmvs.geometry.pinhole import Pinhole
from rsmvs.io.pinhole_files import write_whu_pinhole
from rsmvs.io.raster import write_raster
from rsmvs.io.rpc_files import tags_from_rpc
from rsmvs.io.samples import SampleFiles
from rsmvs.io.truth_files import read_dfc_grid, read_pfm, read_relative_depth, read_truth, write_pfm
from rsmvs.network_options import CascadeOptions, DataOptions, TrainOptions
from rsmvs.simulate.options import SceneOptions, ViewOptions, preset
from rsmvs.simulate.render import Rendering, render_view
from rsmvs.simulate.samples import SampleOptions, ViewSet, training_sample
from rsmvs.simulate.scene import Scene, simulate_scene
from rsmvs.stages.prepare import prepare_options, prepare_rdm, prepare_samples
from rsmvs.training.datasets import Crops
from rsmvs.training.loop import Run
from rsmvs.training.prepare_options import PrepareOptions, SiteOptions, SplitOptions
from rsmvs.training.readers import Us3d, ViewFolders, class_index, split_tiles
from rsmvs.training.tasks import CascadeTask
from rsmvs.types import CLASS_CODES, Sample

ROOT = Path(__file__).resolve().parents[1]
SIDE = 64


# ---- file formats, byte by byte


def test_pfm_has_its_rows_bottom_up_and_its_sign_says_the_byte_order(tmp_path: Path) -> None:
    path = tmp_path / "a.pfm"
    path.write_bytes(b"Pf\n3 2\n-1.0\n" + np.array([4, 5, 6, 1, 2, 3], "<f4").tobytes())
    assert read_pfm(path).tolist() == [[1, 2, 3], [4, 5, 6]]
    path.write_bytes(b"Pf\n3 2\n1.0\n" + np.array([4, 5, 6, 1, 2, 3], ">f4").tobytes())
    assert read_pfm(path).tolist() == [[1, 2, 3], [4, 5, 6]]
    write_pfm(tmp_path / "b.pfm", np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    assert (tmp_path / "b.pfm").read_bytes() == b"Pf\n3 2\n-1.0\n" + np.array([4, 5, 6, 1, 2, 3], "<f4").tobytes()


@pytest.mark.parametrize("content", [b"", b"P6\n3 2\n255\n", b"Pf\n3 2\n-1.0\n" + b"\0" * 20])
def test_broken_pfm_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.pfm").write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.pfm"):
        read_pfm(tmp_path / "broken.pfm")


def test_whu_depths_count_sixty_fourths_and_heights_miss_at_999(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "d.png"), np.array([[0, 64, 96]], np.uint16))
    assert np.array_equal(read_truth(tmp_path / "d.png"), np.array([[np.nan, 1.0, 1.5]], np.float32), equal_nan=True)
    write_pfm(tmp_path / "h.pfm", np.array([[-999.0, -3.5, 812.25]], np.float32))
    assert np.array_equal(read_truth(tmp_path / "h.pfm"), np.array([[np.nan, -3.5, 812.25]], np.float32), equal_nan=True)


def test_origin_of_a_contest_dsm_is_an_option(tmp_path: Path) -> None:
    (tmp_path / "JAX_001_DSM.txt").write_text("435525.0\n3354096.0\n512\n0.5\n")
    corner, centre = (read_dfc_grid(tmp_path / "JAX_001_DSM.txt", o) for o in ("corner", "centre"))
    assert corner == Grid(435525.0, 3354096.0 + 256.0, 0.5, 512, 512)
    assert (corner.x0 - centre.x0, corner.y0 - centre.y0) == (0.25, 0.25)
    (tmp_path / "bad_DSM.txt").write_text("435525.0 north")
    with pytest.raises(ImageError, match="bad_DSM"):
        read_dfc_grid(tmp_path / "bad_DSM.txt", "corner")


def test_contest_classes_become_the_six() -> None:
    index = class_index(np.array([[2, 5, 6, 9, 17, 65, 0, 7]]), CLASS_CODES)
    assert index.tolist() == [[0, 1, 2, 3, 4, -1, -1, 5]]
    assert class_index(np.array([[2, 5, 6, 9, 17]]), (2, 5, 6)).tolist() == [[0, 1, 2, 5, 5]]


# ---- the view folders of WHU-MVS and WHU-TLC


def _views(camera: str, count: int, seed: int) -> ViewSet:
    options = SampleOptions(width=SIDE, height=SIDE, views=count, camera=camera, gsd_min=0.4, gsd_max=0.4, style="suburb",
                            other_date=0.0, clouds=0.0, angle_max=30.0)  # fmt: skip
    return training_sample(seed, options)


def _write_folders(root: Path, views: ViewSet, names: list[int], truth: str, cameras: str) -> None:
    for number, view in zip(names, views.views, strict=True):
        for part in ("image", truth, cameras):
            (root / part / str(number)).mkdir(parents=True)
        cv2.imwrite(str(root / "image" / str(number) / "000.png"), view.image)
        if truth == "depth":
            values = _depths(view)
            write_whu_pinhole(root / cameras / str(number) / "000.txt", view.camera, 0.4, number, SIDE, SIDE)  # type: ignore[arg-type]
        else:
            values = np.nan_to_num(view.heights, nan=-999.0)
            _write_whu_rpc(root / cameras / str(number) / "000.rpc", view.camera)
        write_pfm(root / truth / str(number) / "000.pfm", values.astype(np.float32))


def _depths(view: Rendering) -> np.ndarray:
    """Along the optical axis: of the ground point of each pixel, in the camera's own frame."""
    camera = view.camera
    assert isinstance(camera, Pinhole)
    row, col = np.indices(view.heights.shape)
    x, y = (col - camera.principal[0]) / camera.focal, (row - camera.principal[1]) / camera.focal
    rays = np.stack([x, y, np.ones(col.shape)])
    return (view.heights - camera.centre[2]) / np.einsum("k,kij->ij", camera.rotation[:, 2], rays)


def _write_whu_rpc(path: Path, rpc: object) -> None:
    off, scale, poly = rpc.offsets, rpc.scales, rpc.poly  # type: ignore[attr-defined]
    heads = ("SAMP", "LINE", "LONG", "LAT", "HEIGHT")
    lines = [f"{h}_OFF: {float(v)!r}" for h, v in zip(heads, off, strict=True)]
    lines += [f"{h}_SCALE: {float(v)!r}" for h, v in zip(heads, scale, strict=True)]
    for name, row in zip(("SAMP_NUM", "SAMP_DEN", "LINE_NUM", "LINE_DEN"), poly, strict=True):
        lines += [f"{name}_COEFF_{i + 1}: {float(v)!r}" for i, v in enumerate(row)]
    lines += [f"{name}_COEFF_{i + 1}: 0.0" for name in ("LAT_NUM", "LAT_DEN", "LON_NUM", "LON_DEN") for i in range(20)]
    path.write_text("\n".join(lines) + "\n")


def _agrees(sample: Sample, views: Sequence[Rendering]) -> None:
    """Images, heights and warps of a read sample are those of the scene."""
    assert np.array_equal(sample.images[0], views[0].image.astype(np.float32))
    assert np.nanmax(np.abs(sample.heights - views[0].heights)) < 2e-3
    _leads_to(sample, views)


def _leads_to(sample: Sample, views: Sequence[Rendering]) -> None:
    """The warps show of the sources what their cameras show."""
    row, col = np.indices(sample.heights.shape)
    h = np.nan_to_num(sample.heights, nan=float(np.nanmean(sample.heights)))
    lon, lat = views[0].camera.localise(col, row, h)
    for view, warp, part in zip(views[1:], sample.warps, sample.images[1:], strict=True):
        image = view.bands.mean(axis=0, dtype=np.float32)
        u, v = (c.astype(np.float32) for c in view.camera.project(lon, lat, h))
        p, q = (c.astype(np.float32) for c in warp(col, row, h))
        exact = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderValue=-1)
        read = cv2.remap(part, p, q, cv2.INTER_LINEAR, borderValue=-1)
        inside = (exact > 0) & (read > 0)
        assert inside.mean() > 0.5
        assert np.median(np.abs(exact - read)[inside]) < 0.02 * image.std()


def test_aerial_folders_read_as_they_were_written(tmp_path: Path) -> None:
    views = _views("aerial", 3, 21)
    _write_folders(tmp_path, views, [2, 1, 3], "depth", "camera")
    rdm = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    (tmp_path / "one" / "2").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "one" / "2" / "000.png"), (rdm * 65535).astype(np.uint16))
    assert main(["prepare", "rdm", str(tmp_path / "one"), "-o", str(tmp_path / "depthAnything")]) == 0
    data = ViewFolders(tmp_path, view_num=3, ref_view=2)
    assert len(data) == 1
    sample = data[0]
    _agrees(sample, views.views)
    assert sample.rdm is not None and np.abs(sample.rdm[0] - rdm).max() < 1e-4
    assert sample.gsd == pytest.approx(0.4, rel=0.05)


def test_satellite_folders_read_as_they_were_written(tmp_path: Path) -> None:
    views = _views("satellite", 3, 22)
    _write_folders(tmp_path, views, [2, 1, 0], "height", "rpc")
    sample = ViewFolders(tmp_path, ref_view=2)[0]
    assert sample.rdm is None and sample.classes is None
    order = ViewFolders(tmp_path, ref_view=2).views
    assert order == [2, 1, 0]
    _agrees(sample, views.views)


def test_broken_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="camera or rpc"):
        ViewFolders(tmp_path)
    _write_folders(tmp_path, _views("satellite", 3, 22), [0, 1, 2], "height", "rpc")
    (tmp_path / "height/2/000.pfm").unlink()
    with pytest.raises(ManifestError, match="height/2/000"):
        ViewFolders(tmp_path)[0]
    write_pfm(tmp_path / "height/2/000.pfm", np.zeros((5, 5), np.float32))
    with pytest.raises(RsmvsError, match="do not fit"):
        ViewFolders(tmp_path)[0]
    (tmp_path / "rpc/0/000.rpc").write_text("LINE_OFF: 5\n")
    with pytest.raises(RsmvsError, match=r"rpc/0/000\.rpc"):
        ViewFolders(tmp_path)[0]
    with pytest.raises(ManifestError, match="asked for"):
        ViewFolders(tmp_path, view_num=5)


# ---- US3D: a DSM on the ground, laid into the views


@pytest.fixture(scope="module")
def scene() -> Scene:
    return simulate_scene(SceneOptions(extent=64.0, margin=40.0, style="suburb"), 8)


@pytest.fixture(scope="module")
def us3d(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("us3d")
    for tile in ("JAX_004", "JAX_005", "OMA_001"):
        for number, (incidence, azimuth) in {4: (5.0, 90.0), 15: (15.0, 200.0), 19: (18.0, 10.0)}.items():
            view = render_view(scene, ViewOptions(incidence=incidence, azimuth=azimuth, bands="rgb"), number, (128, 128))
            rpcs = tags_from_rpc(view.camera)  # type: ignore[arg-type]
            write_raster(root / "RGB" / f"{tile}_{number:03d}_RGB.tif", list(view.bands), rpcs=rpcs)
        grid = Grid.covering((scene.area[0] - 30, scene.area[1] - 30, scene.area[2] + 30, scene.area[3] + 30), 0.5)
        dsm = scene.truth(scene.surface, grid).copy()
        dsm[:4, :4] = -999.0
        codes = np.array(CLASS_CODES, np.uint8)[scene.truth(scene.classes, grid)]
        write_raster(root / "Truth" / f"{tile}_DSM.tif", [dsm])
        write_raster(root / "Truth" / f"{tile}_CLS.tif", [codes])
        words = (grid.bounds[0], grid.bounds[1], grid.width, grid.step)
        (root / "Truth" / f"{tile}_DSM.txt").write_text("\n".join(repr(float(w)) for w in words))
    return root


def test_contest_tiles_become_crops_with_the_scene_s_heights_and_classes(us3d: Path, scene: Scene) -> None:
    data = Us3d(us3d, {"JAX": (4, 15, 19)}, crop=64, crs={"JAX": scene.crs})
    assert data.tiles == ["JAX_004", "JAX_005"] and len(data) == 8
    sample = data[1]
    assert sample.id == "JAX_004_0_1" and sample.heights.shape == (64, 64) and len(sample.warps) == 2
    view = render_view(scene, ViewOptions(incidence=5.0, azimuth=90.0, bands="rgb"), 4, (128, 128))
    gap = np.abs(sample.heights - view.heights[:64, 64:])
    assert np.nanmedian(gap) < 0.02 and (gap < 0.3).mean() > 0.85  # walls and crowns are sampled twice as coarsely
    assert sample.classes is not None and (sample.classes == view.classes[:64, 64:]).mean() > 0.93
    directions = ((5.0, 90.0), (15.0, 200.0), (18.0, 10.0))
    options = [ViewOptions(incidence=i, azimuth=a, bands="rgb") for i, a in directions]
    _leads_to(data[0], [render_view(scene, o, n, (128, 128)) for o, n in zip(options, (4, 15, 19), strict=True)])


def test_holes_of_the_truth_stay_holes(scene: Scene) -> None:
    grid = Grid.covering(scene.area, 0.5)
    dsm = scene.truth(scene.surface, grid).copy()
    dsm[40:60, 40:60] = np.nan
    view = render_view(scene, ViewOptions(), 1, (128, 128))
    heights, classes = GroundTruth(scene.crs, grid, dsm, scene.truth(scene.classes, grid)).in_view(view.camera, (128, 128))
    lost = np.isnan(heights)
    assert 250 < lost.sum() < 600 + np.isnan(heights[:4]).sum() * 30 and classes is not None and (classes[lost] == -1).all()


def test_prepared_samples_are_split_by_tile_and_read_back(us3d: Path, scene: Scene, tmp_path: Path) -> None:
    site = SiteOptions("JAX", (4, 15, 19), scene.crs)
    options = PrepareOptions(form="us3d", sites=(site,), crop=64, split=SplitOptions(test=1))
    assert prepare_samples(us3d, options, tmp_path) == {"test": 4, "train": 4}
    train, test = SampleFiles(tmp_path / "train"), SampleFiles(tmp_path / "test")
    assert {s.id[:7] for s in train}.isdisjoint({s.id[:7] for s in test})
    with pytest.raises(ManifestError, match="no tile"):
        Us3d(us3d, {"ATL": (7, 25, 32)})


def test_published_selections_have_the_papers_counts() -> None:
    dfc, spacenet = (prepare_options(ROOT / "config" / "datasets" / f"{n}.yaml") for n in ("dfc19", "spacenet4"))
    assert [(s.name, s.views) for s in dfc.sites] == [("JAX", (4, 15, 19)), ("OMA", (1, 33, 38))]
    assert [(s.name, s.views) for s in spacenet.sites] == [("ATL", (7, 25, 32))]
    crops = (2048 // dfc.crop) ** 2
    parts = split_tiles([f"t{i}" for i in range(209)], {"test": dfc.split.test})
    assert (len(parts["train"]) * crops, len(parts["test"]) * crops) == (2976, 368)
    parts = split_tiles([f"t{i}" for i in range(349)], {"test": spacenet.split.test, "val": spacenet.split.val})
    assert [len(parts[p]) * crops for p in ("train", "val", "test")] == [4528, 528, 528]
    assert not set(parts["train"]) & set(parts["test"])


# ---- relative depth, plans


def test_relative_depth_gets_three_scales(tmp_path: Path) -> None:
    edge = np.zeros((40, 60), np.uint8)
    edge[:, 30:] = 200
    cv2.imwrite(str(tmp_path / "edge.png"), edge)
    assert prepare_rdm(tmp_path / "edge.png", tmp_path / "out") == 1
    maps = read_relative_depth(tmp_path / "out" / "edge.png")
    widths = [int(((m[20] > 0.1) & (m[20] < 0.9)).sum()) for m in maps]
    assert widths[0] == 0 and 3 <= widths[1] <= 7 and 15 <= widths[2] <= 25
    assert np.allclose(maps[:, 20, [0, -1]].round(2), [[0, 1]] * 3, atol=0.02)
    cv2.imwrite(str(tmp_path / "colour.png"), np.arange(12 * 12 * 3, dtype=np.uint8).reshape(12, 12, 3))
    with pytest.raises(ImageError, match=r"colour\.png"):
        prepare_rdm(tmp_path / "colour.png", tmp_path / "out")


def test_unknown_key_of_a_selection_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("form: us3d\ncrops: 5\n")
    with pytest.raises(RsmvsError, match="crops"):
        prepare_options(tmp_path / "x.yaml")
    assert preset("tiny").tile_size == 32.0


def test_every_reader_feeds_a_training_step(us3d: Path, scene: Scene, tmp_path: Path) -> None:
    _write_folders(tmp_path / "aerial", _views("aerial", 3, 21), [2, 1, 3], "depth", "camera")
    _write_folders(tmp_path / "satellite", _views("satellite", 3, 22), [2, 1, 0], "height", "rpc")
    readers = [
        ViewFolders(tmp_path / "aerial"),
        ViewFolders(tmp_path / "satellite"),
        Us3d(us3d, {"JAX": (4, 15, 19)}, crop=64, crs={"JAX": scene.crs}),
    ]
    options = CascadeOptions(feature_channels=(4, 4, 6), regularizer_widths=(4, 4, 4), levels=1, hypotheses=(8, 4, 4))
    for reader in readers:
        run = Run(CascadeTask(options, (0.5, 1.0, 2.0)), TrainOptions(steps=1))
        crops = Crops(reader, DataOptions(crop=32, crops_per_sample=1, rdm="none"))
        assert np.isfinite(run.advance([run.task.collate([crops[0]])]))
