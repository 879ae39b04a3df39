"""Relative depth maps: windows that fit, a real architecture with random weights marked as such, and the stage."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

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


def test_no_seam_shows(scene):
    """Steps across the rims of windows are no larger than steps inside them."""
    from rsmvs.networks.rdm_mosaic import _starts

    joined = mosaic(scene, _moody(0.02), 64, 0.5)
    scale, shift = np.polyfit(joined.ravel(), scene.ravel(), 1)
    steps = np.abs(np.diff(scale * joined + shift - scene, axis=1)).mean(axis=0)
    firsts = _starts(scene.shape[1], 64, 0.5)
    rims = sorted({c - 1 for c in firsts if c} | {c + 63 for c in firsts if c + 64 < scene.shape[1]})
    inside = np.delete(steps, rims)
    assert len(rims) >= 8
    assert steps[rims].mean() < 1.2 * inside.mean()
    assert steps[rims].max() < inside.max() * 1.05


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
    depth = relative_depth(image, network, 112, 0.3)
    assert depth.shape == image.shape
    assert np.array_equal(np.isnan(depth), np.isnan(image))


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


def test_models_that_are_not_there_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="no folder and no hub name"):
        read_depth_model("./nowhere")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "unknown"}))
    with pytest.raises(ManifestError, match="is no depth model"):
        read_depth_model(str(tmp_path))
    with pytest.raises(ConfigError, match="cannot be fetched"):
        read_depth_model("nobody/no-such-model")
