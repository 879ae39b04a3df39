"""Learned matchers from end to end: samples, commands, windows, backends, what they say of scenes they do not know."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from analytic_scene import Scenes, sample
from tile_scene import planned_tile

from rsmvs.cli import main
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.io.samples import SampleFiles, read_sample, write_sample
from rsmvs.network_options import CascadeOptions, DataOptions, TrainOptions
from rsmvs.networks.cascade import Cascade
from rsmvs.networks.learned import LearnedMatcher, cascade_of, seen_by_a_source
from rsmvs.networks.matcher import Heights
from rsmvs.networks.tensors import stack_of, stack_tensors
from rsmvs.networks.windows import cut, match_in_windows, starts
from rsmvs.options import HeightsOptions, LearnedOptions, SgmOptions
from rsmvs.stages.matchers import matcher_of
from rsmvs.training.datasets import Crops, oracle_rdm
from rsmvs.training.loop import train
from rsmvs.training.tasks import CascadeTask

TINY = CascadeOptions(feature_channels=(2, 2, 4), regularizer_widths=(2, 2, 2), levels=1, hypotheses=(8, 4, 4))
TORCH = LearnedOptions(backend="torch")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    card = {"domain": {"gsd": [0.4, 0.6], "height_span": [20, 50]}}
    folder = tmp_path_factory.mktemp("weights")
    return train(lambda: CascadeTask(TINY, (0.5, 1, 2)), Scenes(2, size=32), TrainOptions(steps=2), folder, card=card)


# ---- windows ----


@pytest.mark.parametrize(("size", "window", "overlap"), [(100, 128, 16), (128, 128, 16), (300, 128, 32), (1000, 256, 64)])
def test_windows_cover_everything_and_overlap(size, window, overlap):
    first = starts(size, window, overlap)
    assert first[0] == 0
    assert first[-1] == max(size - window, 0)
    for a, b in pairwise(first):
        assert a < b <= a + window - overlap


def test_a_window_of_a_stack_sees_the_same_points():
    stack = stack_of(sample(3, size=96))
    part = cut(stack, 32, 16, 48, 64)
    for whole, piece in zip(stack.sources, part.sources, strict=True):
        u, v = (float(x) for x in whole.field(40.0, 60.0, 104.0))
        pu, pv = (float(x) for x in piece.field(24.0, 28.0, 104.0))
        offset = np.array([u - pu, v - pv])
        assert np.abs(offset - np.round(offset)).max() < 1e-9
        du, dv = np.round(offset).astype(int)
        h, w = piece.image.shape
        assert np.array_equal(piece.image, whole.image[dv : dv + h, du : du + w])


def test_blended_windows_equal_the_whole_where_the_matcher_is_local():
    stack = stack_of(sample(3, size=96))

    def pointwise(part):
        ones = np.ones_like(part.image)
        return Heights(part.image * 2, ones * 0.5, ones)

    found = match_in_windows(stack, pointwise, 48, 16)
    np.testing.assert_allclose(found.height, stack.image * 2, rtol=1e-5)
    np.testing.assert_allclose(found.confidence, 0.5, rtol=1e-5)


def test_blending_leaves_no_step_at_the_rims():
    """Windows that disagree by a constant fade into each other."""
    stack = stack_of(sample(3, size=96))
    count = iter(range(100))

    def uneven(part):
        level = float(next(count) % 2)
        return Heights(np.full_like(part.image, level), np.ones_like(part.image), np.ones_like(part.image))

    steps = np.abs(np.diff(match_in_windows(stack, uneven, 64, 32).height, axis=1))
    assert steps.max() < 0.1


# ---- the matcher ----


def test_matcher_gives_heights_only_where_a_source_sees_data(weights):
    scene = sample(1, size=48)
    reference = scene.images[0].copy()
    reference[:6] = np.nan
    half = [image.copy() for image in scene.images[1:]]
    for image in half:
        image[:, 24:] = np.nan
    match = matcher_of(HeightsOptions(model="casmvs", learned=replace(TORCH, weights=str(weights))))
    found = match(stack_of(replace(scene, images=(reference, *half))))
    assert np.isnan(found.height[:6]).all()
    assert np.isnan(found.height[10:, 42:]).all()
    assert np.isfinite(found.height[10:40, 4:12]).all()
    assert np.array_equal(found.confidence > 0, np.isfinite(found.height))
    assert np.array_equal(np.isfinite(found.sigma), np.isfinite(found.height))


def test_a_window_without_data_or_sources_is_empty(weights):
    match = matcher_of(HeightsOptions(model="casmvs", learned=replace(TORCH, weights=str(weights))))
    stack = stack_of(sample(1, size=32))
    for empty in (replace(stack, sources=()), replace(stack, image=np.full_like(stack.image, np.nan))):
        assert np.isnan(match(empty).height).all()


def test_scenes_outside_the_training_are_told(weights):
    match = matcher_of(HeightsOptions(model="casmvs", learned=replace(TORCH, weights=str(weights))))
    stack = stack_of(sample(1, size=32))
    assert match(stack).notes == ()
    coarse, high = match(replace(stack, gsd=2.0)).notes, match(replace(stack, height_range=(0.0, 400.0))).notes
    assert coarse == ("the network was trained for GSDs of 0.4 to 0.6 m, the reference has 2.00 m",)
    assert high == ("the network was trained for height ranges up to 50 m, the scene has 400 m",)


def test_wrong_weights_are_refused_in_one_line(weights):
    with pytest.raises(ConfigError, match=r"is 'red', but .* holds 'casmvs'"):
        matcher_of(HeightsOptions(model="red", learned=replace(TORCH, weights=str(weights))))
    with pytest.raises(ConfigError, match="was trained without"):
        matcher_of(HeightsOptions(model="casmvs", rdm=True, learned=replace(TORCH, weights=str(weights))))
    card = {"architecture": {"kind": "depth_anything"}}
    with pytest.raises(ManifestError, match="is no cascade"):
        cascade_of({}, card, "w.safetensors")
    architecture = {"kind": "cascade", "regularizer": "casmvs"}
    with pytest.raises(ManifestError, match="does not fit its card"):
        cascade_of({}, {"architecture": architecture}, "w.safetensors")


def test_relative_depth_is_given_to_those_that_know_it_and_to_no_others(tmp_path):
    """A network that was trained with it gets worse without, and silently."""
    for guide in (False, True):
        task = CascadeTask(replace(TINY, rdm=not guide, rdm_guide=guide), (0.5, 1, 2))
        made = train(lambda t=task: t, Scenes(2, size=32), TrainOptions(steps=1), tmp_path / str(guide))
        options = HeightsOptions(model="casmvs", rdm=True, learned=replace(TORCH, weights=str(made)))
        match, stack = matcher_of(options), stack_of(sample(1, size=32))
        assert match(stack).notes == ()
        assert match(replace(stack, rdm=None)).notes == ("the network was trained with relative depth, the reference has none",)
        with pytest.raises(ConfigError, match=r"heights\.rdm: is off, but .* was trained with relative depth; switch it on"):
            matcher_of(replace(options, rdm=False))


def test_references_go_through_the_network_together():
    """Equal to one by one; those that do not fit a window or have other sources are matched alone."""
    network = Cascade(replace(TINY, zncc_window=3)).eval()
    match = LearnedMatcher(network, {}, replace(TORCH, window=96, overlap=32))
    small = [stack_of(sample(i, size=64)) for i in range(2)]
    alone = [match(s) for s in small]
    calls = []
    backend = match.backend
    match.backend = lambda tensors: calls.append(len(tensors.images[0])) or backend(tensors)
    for a, b in zip(match.all(small), alone, strict=True):
        np.testing.assert_allclose(a.height, b.height, atol=1e-3)
        np.testing.assert_allclose(a.sigma, b.sigma, atol=1e-3)
    assert calls == [2]
    match.all([small[0], stack_of(sample(3, size=64, views=4))])
    match.all([small[0], stack_of(sample(3, size=128))])
    assert set(calls[1:]) == {1}


@pytest.mark.parametrize("prior", ["sgm", "none"])
def test_options_of_semi_global_matching_reach_the_prior(prior):
    network = Cascade(replace(TINY, prior=prior)).eval()
    stack = stack_of(sample(1, size=64))
    found = [LearnedMatcher(network, {}, TORCH, SgmOptions(p1=p))(stack).height for p in (32, 0)]
    assert np.array_equal(*found, equal_nan=True) == (prior == "none")
    with pytest.raises(ConfigError, match="heights_from: is 'prior'"):
        LearnedMatcher(network, {}, replace(TORCH, heights_from="prior"))


def test_prior_of_semi_global_matching_is_made_when_it_is_needed():
    network = Cascade(replace(TINY, prior="sgm")).eval()
    scene = sample(1, size=64)
    match = LearnedMatcher(network, {}, TORCH)
    assert match(stack_of(scene)).height.shape == (64, 64)
    batch, _ = CascadeTask(network.options, (0.5, 1, 2)).collate([scene])
    assert batch.prior is not None
    known = torch.isfinite(batch.prior[0, 0]).numpy()
    assert known.mean() > 0.8
    assert np.median(np.abs(batch.prior[0, 0].numpy() + 100 - scene.heights)[known]) < 1.0


@pytest.mark.parametrize("regularizer", ["red", "casmvs", "ucs"])
def test_openvino_gives_what_torch_gives(regularizer):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    options = replace(TINY, regularizer=regularizer, zncc_window=3, visibility=True, polish=True, rdm=True, rdm_guide=True)
    network = Cascade(options).eval()
    scene = sample(1, size=96)  # larger than the example that is traced
    stack = replace(stack_of(scene), prior=scene.heights)
    a, b = (LearnedMatcher(network, {}, LearnedOptions(backend=name, threads=1))(stack) for name in ("torch", "openvino"))
    np.testing.assert_allclose(a.height, b.height, atol=1e-3)
    np.testing.assert_allclose(a.confidence, b.confidence, atol=1e-3)
    np.testing.assert_allclose(a.sigma, b.sigma, atol=1e-3)


def test_half_precision_moves_heights_little():
    """bf16 has eight bits: in the convolutions alone they cost a small part of a plane's distance."""
    stack = stack_of(sample(1, size=64))
    network = Cascade(replace(TINY, zncc_window=3)).eval()
    full, half = (LearnedMatcher(network, {}, replace(TORCH, precision=p))(stack) for p in ("fp32", "bf16"))
    assert full.height.dtype == half.height.dtype == np.float32
    assert 0 < np.abs(full.height - half.height).max() < 1.0
    with pytest.raises(ConfigError, match="precision: is 'bf16'"):
        LearnedMatcher(network, {}, LearnedOptions(backend="openvino", precision="bf16"))


def test_a_backend_that_is_not_installed_is_told(monkeypatch):
    from rsmvs.networks import openvino_backend

    monkeypatch.setattr(openvino_backend, "available", lambda: False)
    network = Cascade(TINY).eval()
    with pytest.raises(ConfigError, match="OpenVINO is not installed"):
        LearnedMatcher(network, {}, LearnedOptions(backend="openvino"))
    assert type(LearnedMatcher(network, {}, LearnedOptions()).backend).__name__ == "TorchBackend"


def test_pixels_without_a_source_are_found():
    stack = stack_tensors([stack_of(sample(1, size=32))])
    stack.masks[1].zero_()
    stack.masks[2].zero_()
    assert not seen_by_a_source(stack, torch.zeros(1, 1, 32, 32)).any()


# ---- samples ----


def test_samples_come_back_bit_by_bit(tmp_path):
    scene = replace(sample(2, size=32), prior=sample(2, size=32).heights, classes=np.zeros((32, 32), np.int16))
    write_sample(tmp_path / "a.npz", scene)
    again = SampleFiles(tmp_path)[0]
    for name in ("heights", "classes", "rdm", "prior"):
        assert np.array_equal(getattr(again, name), getattr(scene, name), equal_nan=True)
    for a, b in zip(again.images, scene.images, strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(again.warps[1](3.0, 4.0, 90.0), scene.warps[1](3.0, 4.0, 90.0))
    assert (again.id, again.height_range, again.gsd) == (scene.id, scene.height_range, scene.gsd)


def test_broken_samples_are_named(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK no sample")
    with pytest.raises(ManifestError, match=r"bad\.npz: is no sample"):
        SampleFiles(tmp_path)[0]
    with pytest.raises(ManifestError, match="does not exist"):
        read_sample(tmp_path / "absent.npz")
    with pytest.raises(ManifestError, match="holds no samples"):
        SampleFiles(tmp_path / "nowhere")


def test_crops_are_pure_functions_of_their_number():
    data = DataOptions(crop=48, crops_per_sample=3, view_num=3, slack=5.0, rdm="oracle")
    crops = Crops(Scenes(2, size=96, views=4), data, seed=7)
    assert len(crops) == 6
    a, b, other = crops[4], crops[4], crops[5]
    assert all(np.array_equal(x, y) for x, y in zip(a.images, b.images, strict=True))
    assert not np.array_equal(a.heights, other.heights)
    assert len(a.images) == 3
    assert a.heights.shape == (48, 48)
    low, high = a.height_range
    assert low <= a.heights.min() - 1
    assert a.heights.max() + 1 <= high <= a.heights.max() + 6.001


def test_a_crop_matches_its_sources():
    """At the true height the source shows what the reference shows."""
    from scipy.ndimage import map_coordinates

    crop = Crops(Scenes(1, size=96), DataOptions(crop=40, view_num=3), seed=1)[2]
    rows, cols = np.mgrid[:40, :40]
    for image, warp in zip(crop.images[1:], crop.warps, strict=True):
        u, v = warp(cols, rows, crop.heights)
        inside = (u > 2) & (v > 2) & (u < image.shape[1] - 3) & (v < image.shape[0] - 3)
        seen = map_coordinates(image, [v[inside], u[inside]], order=1)
        assert np.corrcoef(seen, crop.images[0][inside])[0, 1] > 0.97


def test_oracle_rdm_rises_with_the_height():
    heights = sample(0, size=64).heights
    relative = oracle_rdm(heights, np.random.default_rng(0))
    assert relative.shape == (3, 64, 64)
    assert np.corrcoef(np.argsort(np.argsort(heights.ravel())), relative[0].ravel())[0, 1] > 0.8


# ---- commands ----


def test_train_and_predict_from_the_command_line(tmp_path, capsys):
    for i in range(4):
        write_sample(tmp_path / "data" / f"{i}.npz", sample(i, size=48))
    flags = ["--dataset", "samples", "--dataset_root", str(tmp_path / "data"), "--model", "casmvs", "--ndepths", "8,4,4"]
    flags += ["--lr", "0.002", "--batch_size", "2", "--dlossw", "0.5,1.0,2.0", "--set", "network.levels=1"]
    flags += ["--set", "network.feature_channels=2,2,4", "--set", "network.regularizer_widths=2,2,2"]
    flags += ["--set", "data.crop=32", "--set", "data.evaluation=1", "--epochs", "1"]
    assert main(["train", "-o", str(tmp_path / "run"), *flags]) == 0
    card = json.loads((tmp_path / "run" / "last.json").read_text())
    assert card["architecture"]["hypotheses"] == [8, 4, 4]
    assert card["training"]["steps"] == 6  # three samples, four crops each, two a step
    assert card["metrics"]["mae"] > 0
    weights = tmp_path / "run" / "best.safetensors"
    where = ["--dataset_root", str(tmp_path / "data"), "--backend", "torch"]
    assert main(["predict", "-o", str(tmp_path / "out"), "--loadckpt", str(weights), *where]) == 0
    scores = json.loads((tmp_path / "out" / "index.json").read_text())["samples"]
    assert len(scores) == 4
    assert (tmp_path / "out" / "analytic-3.tif").is_file()
    assert main(["train", "-o", str(tmp_path / "x"), "--set", "data.corp=3"]) == 1
    assert "unknown key 'data.corp'" in capsys.readouterr().err


def test_weights_without_rdm_start_a_network_with_it(weights):
    from rsmvs.io.weights import read_weights

    stored = read_weights(str(weights))
    task = CascadeTask(replace(TINY, rdm=True), (0.5, 1, 2), stored.tensors)
    plain = cascade_of(stored.tensors, stored.card, "w")
    stack = stack_tensors([stack_of(sample(4, size=32))])
    with torch.no_grad():
        assert torch.equal(task.network.eval()(stack)[-1].z, plain(stack)[-1].z)


# ---- in the workflow ----


def test_stages_of_a_tile_with_relative_depth(tiny_scene, tmp_path):
    """Relative depth by random weights, allowed for this test alone, then heights by a network that was trained for a step."""
    from test_relative_depth import TINY as TINY_DEPTH

    from rsmvs.io.manifests import read_json
    from rsmvs.io.raster import opened
    from rsmvs.io.weights import write_weights
    from rsmvs.networks.depth_anything import depth_anything_of
    from rsmvs.options import RdmOptions
    from rsmvs.stages.heights import predict_heights
    from rsmvs.stages.rdm import predict_rdm

    config, plan = planned_tile(tiny_scene, tmp_path)
    depth = depth_anything_of(TINY_DEPTH)
    architecture = {"kind": "depth_anything", **TINY_DEPTH}
    card = {"trained": False, "architecture": architecture, "training": {}, "domain": {"gsd": [5.0, 6.0]}, "metrics": {}}
    write_weights(tmp_path / "depth.safetensors", depth.state_dict(), card)
    options = RdmOptions(model=str(tmp_path / "depth.safetensors"), window=56)
    with pytest.raises(ManifestError, match="random weights"):
        predict_rdm(plan, config.area, options, 1, plan.parent / "rdm" / "index.json")
    index = plan.parent / "rdm" / "index.json"
    predict_rdm(plan, config.area, options, 1, index, allow_random=True)
    content = read_json(index)
    assert content["status"] == "ok"
    note = "the relative depth model was trained for GSDs of 5 to 6 m, the reference has 0.50 m"
    assert content["layers"][0]["notes"] == [note] and "domain" not in content["depth_model"]
    assert content["depth_model"]["sha256"] == read_json(tmp_path / "depth.json")["sha256"]
    with opened(index.parent / content["layers"][0]["file"]) as src:
        assert src.count == 3
        assert np.isfinite(src.read()).all()
    task = CascadeTask(replace(TINY, rdm=True), (0.5, 1, 2))
    trained = train(lambda: task, Scenes(2, size=32), TrainOptions(steps=1), tmp_path / "w")
    heights = HeightsOptions(model="casmvs", rdm=True, max_views=1, learned=replace(TORCH, weights=str(trained)))
    predict_heights(plan, config.area, heights, plan.parent / "heights" / "index.json", index)
    found = read_json(plan.parent / "heights" / "index.json")
    assert found["status"] == "ok"
    assert note in found["layers"][0]["notes"]
    with opened(plan.parent / "heights" / found["layers"][0]["file"]) as src:
        assert src.descriptions == ("height", "confidence", "sigma")
        assert np.isfinite(src.read(1)).mean() > 0.5
