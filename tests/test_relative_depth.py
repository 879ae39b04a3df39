"""Relative depth maps: windows that fit, a real architecture with random weights marked as such, and the stage."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from tile_scene import planned_tile

from rsmvs.errors import ConfigError, ManifestError
from rsmvs.io.depth_models import read_depth_model
from rsmvs.io.weights import write_weights
from rsmvs.networks.depth_anything import depth_anything_of, patch_size, relative_depth
from rsmvs.networks.rdm_mosaic import align, channels, mosaic
from rsmvs.stages.rdm import depth_model

# The numbers of Depth-Anything-V2-Small's config.json: a ViT-S/14 with a DPT head.
SMALL = {
    "backbone_config": {
        "model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12, "image_size": 518,
        "patch_size": 14, "out_features": ["stage3", "stage6", "stage9", "stage12"], "reshape_hidden_states": False,
        "apply_layernorm": True,
    },
    "reassemble_hidden_size": 384, "neck_hidden_sizes": [48, 96, 192, 384], "fusion_hidden_size": 64,
    "head_hidden_size": 32, "reassemble_factors": [4, 2, 1, 0.5], "patch_size": 14,
}
TINY = {
    "backbone_config": {
        "model_type": "dinov2", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 4, "image_size": 56,
        "patch_size": 14, "out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False,
        "apply_layernorm": True,
    },
    "reassemble_hidden_size": 16, "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "head_hidden_size": 4,
    "reassemble_factors": [4, 2, 1, 0.5], "patch_size": 14,
}


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """A smooth relief with a step."""
    relief = gaussian_filter(np.random.default_rng(0).normal(size=(150, 210)), 12) * 40
    relief[60:100, 90:160] += 2
    return relief.astype(np.float32)


def _moody(noise: float):
    """A predictor whose every answer has a scale, a shift and an outlier of its own."""
    rng = np.random.default_rng(1)

    def predict(part):
        answer = rng.uniform(0.3, 3) * part + rng.uniform(-5, 5)
        answer = answer + rng.normal(0, noise, part.shape)
        r, c = rng.integers(0, part.shape[0] - 12), rng.integers(0, part.shape[1] - 12)
        answer[r : r + 12, c : c + 12] += 20 * noise
        return answer.astype(np.float32)

    return predict


def test_windows_join_to_the_map_they_were_cut_from(scene):
    """Exactly, up to one scale and shift."""
    joined = mosaic(scene, _moody(0.0), 64, 0.5)
    scale, shift = np.polyfit(joined.ravel(), scene.ravel(), 1)
    assert np.abs(scale * joined + shift - scene).max() < 0.02 * np.ptp(scene)


def _steps(values, axis, window):
    """Mean steps of a map along an axis: (at the rims of the windows, inside them)."""
    from rsmvs.networks.rdm_mosaic import _starts

    n = values.shape[axis]
    steps = np.nanmean(np.abs(np.diff(values, axis=axis)), axis=1 - axis)
    firsts = _starts(n, window, 0.5)
    rims = sorted({c - 1 for c in firsts if c} | {c + window - 1 for c in firsts if c + window < n})
    return steps[rims], np.delete(steps, rims)


@pytest.mark.parametrize("axis", [0, 1])
def test_no_seam_shows(scene, axis):
    """Steps across the rims of windows are no larger than steps inside them."""
    joined = mosaic(scene, _moody(0.02), 64, 0.5)
    scale, shift = np.polyfit(joined.ravel(), scene.ravel(), 1)
    rims, inside = _steps(scale * joined + shift - scene, axis, 64)
    assert len(rims) >= 6
    assert rims.mean() < 1.2 * inside.mean()
    assert rims.max() < inside.max() * 1.05


def test_no_seam_shows_on_a_real_image(shared_data):
    """By the embedded model, whose windows agree but roughly. One that is not fitted to its neighbours would show."""
    from rsmvs.io.raster import opened

    torch.set_num_threads(1)
    path = sorted((shared_data / "autzen_public" / "images").glob("*.tif"))[0]
    with opened(path) as src:
        c, r = src.width // 2, src.height // 2
        image = src.read(1, window=((r, r + 378), (c, c + 378))).astype(np.float32)
    network, _ = depth_model("")
    joined = relative_depth(image, network, 126, 0.5)
    for axis in (0, 1):
        rims, inside = _steps(joined, axis, 126)
        assert len(rims) >= 5
        assert rims.mean() < 1.3 * inside.mean() and rims.max() < inside.max(), axis


def test_without_alignment_seams_would_show(scene):
    """The seam test can fail: the same windows, blended as they come."""
    parts = []
    predict = _moody(0.02)
    for c in (0, 32, 64):
        parts.append(predict(scene[:64, c : c + 64]))
    fits = align(parts, [(0, 0), (0, 32), (0, 64)])
    raw = np.abs(parts[0][:, 32:] - parts[1][:, :32]).mean()
    fitted = np.abs(fits[0, 0] * parts[0][:, 32:] + fits[0, 1] - fits[1, 0] * parts[1][:, :32] - fits[1, 1]).mean()
    assert fitted < 0.2 * raw


def test_windows_that_disagree_keep_their_scale():
    """Answers that have little in common, as of a poor model: none may shrink to nothing beside the others."""
    dice = np.random.default_rng(5)
    signal = gaussian_filter(dice.normal(size=(64, 256)), 4).astype(np.float32)
    signal /= signal.std()
    corners = [(0, c) for c in range(0, 224, 32)]
    true = np.exp(dice.normal(0, 0.3, len(corners)))
    for noise, most in ((0.1, 0.1), (1.0, 0.6), (5.0, 0.9)):
        parts = [
            (k * (signal[:, c : c + 64] + noise * gaussian_filter(dice.normal(size=(64, 64)), 4) * 8)).astype(np.float32)
            for k, (_, c) in zip(true, corners, strict=True)
        ]
        fits = align(parts, corners)
        product = np.log(fits[:, 0] * true)
        assert np.abs(product - product.mean()).max() < most, noise


def test_channels_blur_more_and_more_and_fill_gaps(scene):
    depth = scene.copy()
    depth[10:30, 10:30] = np.nan
    maps = channels(depth, (0.0, 2.0, 8.0))
    assert maps.shape == (3, *scene.shape)
    assert np.isfinite(maps).all()
    assert np.array_equal(maps[0][40:, 40:], scene[40:, 40:])
    rough = [np.abs(np.diff(m[40:], axis=1)).mean() for m in maps]
    assert rough[0] > rough[1] > rough[2]


def test_the_small_architecture_with_random_weights():
    """Depth-Anything-V2-Small by its published numbers; the weights are random: only shapes and size are looked at."""
    torch.set_num_threads(1)
    network = depth_anything_of(SMALL)
    assert 24e6 < sum(p.numel() for p in network.parameters()) < 25.5e6
    assert patch_size(network) == 14
    image = np.random.default_rng(0).uniform(100, 900, (100, 150)).astype(np.float32)
    image[:10, :20] = np.nan
    begin = time.process_time()
    depth = relative_depth(image, network, 112, 0.3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"random weights: {time.process_time() - begin:.1f} CPU s, peak of the process {peak:.0f} MB")
    assert depth.shape == image.shape
    assert np.array_equal(np.isnan(depth), np.isnan(image))


def test_the_small_architecture_runs_through_the_stage(tiny_scene, tmp_path):
    """Windows of 518 px of a reference of 600 x 532 px; random weights, marked as such and allowed here alone."""
    from rsmvs.io.manifests import read_json, write_json
    from rsmvs.io.raster import opened, read_band, write_raster
    from rsmvs.options import RdmOptions
    from rsmvs.stages.rdm import predict_rdm

    config, plan = planned_tile(tiny_scene, tmp_path)
    content = read_json(plan)
    reference = content["sets"][0]["reference"]
    view = next(v for v in content["views"] if v["id"] == reference)
    small = read_band(view["path"])[0]
    large = np.tile(small, (1 + 532 // small.shape[0], 1 + 600 // small.shape[1]))[:532, :600]
    write_raster(tmp_path / "large.tif", [large])
    view |= {"path": str(tmp_path / "large.tif"), "width": 600, "height": 532, "fingerprint": ""}
    write_json(plan, content)
    network = depth_anything_of(SMALL)
    network.config.random_weights = True
    network.save_pretrained(tmp_path / "small")
    area = replace(config.area, halo=1000.0)  # more ground than the image shows: all of it
    torch.set_num_threads(1)
    begin = time.process_time()
    with pytest.raises(ManifestError, match="random weights"):
        predict_rdm(plan, area, RdmOptions(model=str(tmp_path / "small")), 1, tmp_path / "rdm" / "index.json")
    predict_rdm(plan, area, RdmOptions(model=str(tmp_path / "small")), 1, tmp_path / "rdm" / "index.json", allow_random=True)
    print(f"random weights: {time.process_time() - begin:.1f} CPU s")
    index = read_json(tmp_path / "rdm" / "index.json")
    assert index["status"] == "ok" and index["depth_model"]["model"] == "small"
    with opened(tmp_path / "rdm" / index["layers"][0]["file"]) as src:
        maps = src.read()
    assert maps.shape == (3, 532, 600) and np.isfinite(maps).all()


def test_random_weights_are_refused_in_every_form(tmp_path):
    network = depth_anything_of(TINY)
    network.config.random_weights = True
    network.save_pretrained(tmp_path / "folder")
    with pytest.raises(ManifestError, match="random weights"):
        read_depth_model(str(tmp_path / "folder"))
    loaded, about = read_depth_model(str(tmp_path / "folder"), allow_random=True)
    pixels = torch.rand(1, 3, 56, 56)
    with torch.no_grad():
        assert torch.equal(loaded(pixel_values=pixels).predicted_depth, network(pixel_values=pixels).predicted_depth)
    assert about["license"] == "not stated"
    assert len(about["sha256"]) == 64
    card = {"trained": False, "architecture": {"kind": "depth_anything", **TINY}, "training": {}, "domain": {}, "metrics": {}}
    write_weights(tmp_path / "w.safetensors", network.state_dict(), card)
    with pytest.raises(ManifestError, match="random weights"):
        depth_model(str(tmp_path / "w.safetensors"))
    again, _ = depth_model(str(tmp_path / "w.safetensors"), allow_random=True)
    with torch.no_grad():
        assert torch.equal(again(pixel_values=pixels).predicted_depth, network(pixel_values=pixels).predicted_depth)


def test_the_licence_of_a_folder_is_read_from_its_card(tmp_path):
    depth_anything_of(TINY).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert read_depth_model(str(tmp_path))[1]["license"] == "apache-2.0"


def test_half_a_model_is_no_model(tmp_path):
    """transformers would fill the rest with random numbers and warn."""
    network = depth_anything_of(TINY)
    network.save_pretrained(tmp_path / "backbone", state_dict=network.backbone.state_dict())
    with pytest.raises(ManifestError, match=r"lacks \d+ tensors"):
        read_depth_model(str(tmp_path / "backbone"))
    network.save_pretrained(tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    (tmp_path / "whole" / "config.json").write_text(json.dumps({**config, "fusion_hidden_size": 16}))
    with pytest.raises(ManifestError, match="other shapes"):
        read_depth_model(str(tmp_path / "whole"))


def test_models_of_another_kind_are_refused(tmp_path):
    from transformers import GLPNConfig, GLPNForDepthEstimation

    sizes = {"num_encoder_blocks": 1, "depths": [1], "hidden_sizes": [8], "num_attention_heads": [1], "sr_ratios": [2],
             "patch_sizes": [3], "strides": [2], "mlp_ratios": [2], "decoder_hidden_size": 8}  # fmt: skip
    GLPNForDepthEstimation(GLPNConfig(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(ManifestError, match="a model of the type 'glpn'"):
        read_depth_model(str(tmp_path))


def test_metric_depth_is_turned_so_that_near_is_large():
    torch.manual_seed(0)
    network = depth_anything_of(TINY)
    with torch.no_grad():
        network.head.conv3.bias.fill_(1.0)  # past it comes a ReLU: an answer that is not flat
    image = gaussian_filter(np.random.default_rng(0).normal(size=(56, 56)), 4).astype(np.float32)
    nearness = relative_depth(image, network, 56, 0.3)
    assert nearness.std() > 0
    network.config.depth_estimation_type = "metric"
    np.testing.assert_array_equal(relative_depth(image, network, 56, 0.3), -nearness)


def test_the_licence_of_own_weights_is_what_their_card_says(tmp_path):
    card = {"trained": True, "architecture": {"kind": "depth_anything", **TINY}, "training": {}, "domain": {}, "metrics": {}}
    write_weights(tmp_path / "w.safetensors", depth_anything_of(TINY).state_dict(), card)
    assert depth_model(str(tmp_path / "w.safetensors"))[1]["license"] == "not stated"
    write_weights(tmp_path / "w.safetensors", depth_anything_of(TINY).state_dict(), {**card, "license": "CC-BY-4.0"})
    assert depth_model(str(tmp_path / "w.safetensors"))[1]["license"] == "CC-BY-4.0"
    assert depth_model("rdm-tiny")[1] == depth_model("")[1] and depth_model("")[1]["license"] == "Apache-2.0"


def test_the_network_goes_to_the_gpu_that_its_job_asks_for(tmp_path, monkeypatch):
    """Both ways of reading a model; what follows takes the device from the network."""
    depth_anything_of(TINY).save_pretrained(tmp_path)
    sent = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *args, **kwargs: sent.append(args) or self)
    for name in ("", str(tmp_path)):
        depth_model(name)
        assert sent[-1] == (torch.device("cuda"),)


def test_models_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="no folder and no hub name"):
        read_depth_model("./nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unknown"}))
    with pytest.raises(ManifestError, match="is no depth model"):
        read_depth_model(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be fetched"):
        read_depth_model("nobody/no-such-model")
