"""MVSR3D: each numbered equation against a slow direct version, its parts switched off and on, votes, the way to products."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analytic_scene import field, sample
from tile_scene import planned_tile
from torch import nn

from rsmvs.errors import ConfigError, ManifestError
from rsmvs.fusion.semantics import ClassVote, seen_classes
from rsmvs.io.sam_weights import read_sam
from rsmvs.network_options import CascadeOptions, TrainOptions
from rsmvs.networks import sam
from rsmvs.networks.cascade import StageHeights
from rsmvs.networks.eca import ECA, attend, epipolar_distance, fundamental_matrix, virtual_points
from rsmvs.networks.egspg import height_masks, sparse_prompts
from rsmvs.networks.lora import adapt, trainable
from rsmvs.networks.mvsr3d import MVSR3D, SceneMaps
from rsmvs.networks.sam_fg import SamFeatureGuide
from rsmvs.networks.semantic_matcher import SemanticMatcher, mvsr3d_of
from rsmvs.networks.tensors import stack_of, stack_tensors
from rsmvs.options import HeightsOptions, LearnedOptions
from rsmvs.semantic_options import SPACENET4, JointConfig, Mvsr3dOptions, SamOptions
from rsmvs.training.joint import JointTask, class_truth, segmentation_loss
from rsmvs.training.loop import train
from rsmvs.training.losses import cascade_loss
from rsmvs.types import CLASS_NAMES

SAM = SamOptions(width=24, depth=2, heads=2, global_blocks=(1,), positions=4, attention_window=3, channels=32, decoder_width=16)
CASCADE = CascadeOptions(feature_channels=(2, 2, 4), regularizer_widths=(2, 2, 2), levels=1, hypotheses=(8, 4, 4))
TINY = Mvsr3dOptions(
    sam=SAM, cascade=CASCADE, encoder="full", virtual_points=60, sam_fg_width=4, foreground=2000, background=1000
)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def labelled(seed: int, size: int = 64):
    """A scene whose classes are a matter of height: ground, and buildings above its middle."""
    s = sample(seed, size=size)
    classes = np.where(s.heights > np.median(s.heights), CLASS_NAMES.index("building"), 0).astype(np.int16)
    return replace(s, classes=classes)


class Scenes:
    def __init__(self, n: int, size: int = 64) -> None:
        self.n, self.size = n, size

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int):
        return labelled(index, self.size)


def randomised(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network.eval()


# ---- the foundation ----


def test_the_package_is_imported_without_torchvision_and_stays_whole():
    """In a fresh process: torchvision is not touched, and what follows finds no half-imported package."""
    code = (
        "import sys; from rsmvs.networks.sam_package import sam_modeling; a = sam_modeling(); b = sam_modeling();"
        "assert a is b and a.ImageEncoderViT;"
        "assert 'torchvision' not in sys.modules; assert 'segment_anything' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sam_that_is_not_installed_is_told(monkeypatch):
    import rsmvs.networks.sam_package as package

    for name in [n for n in sys.modules if n.startswith("segment_anything")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="segment_anything is not installed"):
        package.sam_modeling()


def test_both_formats_of_sam_give_the_embedding_of_transformers(tmp_path):
    """vit_b's form in small: windowed and global blocks, a window of the native and of another size."""
    from transformers import SamConfig, SamModel

    vision = {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 128, "output_channels": 256,
        "window_size": 3, "global_attn_indexes": [1], "mlp_dim": 192, "num_pos_feats": 128,
    }
    theirs = SamModel(SamConfig(vision_config=vision, prompt_encoder_config={"image_size": 128}))
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(0.2 * torch.randn_like(p))
    theirs.eval().save_pretrained(tmp_path / "folder")
    o = replace(SAM, width=48, heads=3, positions=8, channels=256, decoder_width=2048)
    first, second = _parts(o), _parts(o)
    assert sam.load_sam(first, read_sam(tmp_path / "folder")) == []
    torch.save(first.state_dict(), tmp_path / "sam.pth")
    assert sam.load_sam(second, read_sam(tmp_path / "sam.pth")) == []
    image = torch.randn(2, 1, 128, 128)
    with torch.no_grad():
        expected = theirs.get_image_embeddings(image.expand(-1, 3, -1, -1))
        assert expected.std() > 0.1
        for ours in (first, second):
            torch.testing.assert_close(sam.embed(ours.image_encoder, image), expected, atol=1e-4, rtol=0)
        points, labels = torch.tensor([[[5.0, 7.0], [90.0, 60.0]]]), torch.tensor([[1, 0]])
        prompts, _ = first.prompt_encoder((points, labels), None, None)
        dense = first.prompt_encoder(None, None, None)[1]
        args = (expected[:1], first.prompt_encoder.get_dense_pe(), prompts, dense)
        masks, _ = first.mask_decoder(*args, multimask_output=True)
        want = theirs(image_embeddings=expected[:1], input_points=points[None], input_labels=labels[None]).pred_masks[0]
    torch.testing.assert_close(masks, want, atol=1e-3, rtol=1e-3)


def _parts(o: SamOptions) -> nn.Module:
    parts = nn.Module()
    parts.image_encoder, parts.prompt_encoder = sam.image_encoder(o), sam.prompt_encoder(o)
    parts.mask_decoder = sam.mask_decoder(o, 3)
    return parts.eval()


def test_what_is_no_sam_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    causes = {"empty": "no .safetensors", "text.pth": "no checkpoint", "other.pth": "no SAM", "none.pth": "no checkpoint"}
    for name, cause in causes.items():
        with pytest.raises(ManifestError, match=cause):
            read_sam(tmp_path / name)


def test_windows_of_any_size_are_embedded():
    encoder = randomised(sam.image_encoder(SAM))
    with torch.no_grad():
        for rows, cols in ((4, 4), (6, 10), (8, 8)):
            assert sam.embed(encoder, torch.randn(1, 1, 16 * rows, 16 * cols)).shape == (1, 32, rows, cols)


def test_low_rank_adaptation_changes_nothing_at_the_start_and_is_all_that_is_trained():
    plain = randomised(sam.image_encoder(SAM))
    adapted = sam.image_encoder(SAM)
    adapted.load_state_dict(plain.state_dict())
    adapt(adapted, 3)
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(sam.embed(adapted, image), sam.embed(plain, image))
    trained, total = trainable(adapted)
    assert trained == SAM.depth * 4 * 3 * SAM.width
    assert total == trained + trainable(plain)[1]
    qkv, x = adapted.blocks[0].attn.qkv, torch.randn(5, SAM.width)
    for up in qkv.up:
        nn.init.normal_(up.weight)
    change = (qkv(x) - qkv.base(x)).detach().split(SAM.width, -1)
    assert change[0].abs().max() > 0.1 and change[2].abs().max() > 0.1
    assert change[1].abs().max() == 0  # keys stay as they are
    torch.testing.assert_close(change[0], x @ (qkv.up[0].weight @ qkv.down[0].weight).T.detach(), atol=1e-5, rtol=1e-5)


def test_adapted_encoders_load_checkpoints_too():
    source = _parts(SAM)
    options = replace(TINY, encoder="lora", lora_rank=2)
    network = MVSR3D(options)
    left = sam.load_sam(network.mvsam, source.state_dict())
    # seven masks instead of four
    assert {n.removesuffix(".weight").removesuffix(".bias") for n in left} == {
        "mask_decoder.mask_tokens", "mask_decoder.iou_prediction_head.layers.2"
    }
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.mvsam.embed(image), sam.embed(source.image_encoder, image))
    parameters = network.mvsam.image_encoder.named_parameters()
    assert {n.split(".")[-3] for n, p in parameters if p.requires_grad} == {"up", "down"}


@pytest.mark.parametrize("change", [{"width": 16}, {"depth": 1, "global_blocks": (0,)}, {"depth": 3}, {"channels": 64},
                                    {"positions": 8}, {"patch": 8}, {"decoder_width": 32}])  # fmt: skip
def test_sam_of_another_size_is_refused(change):
    network = MVSR3D(replace(TINY, encoder="lora", lora_rank=2))
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(ConfigError, match=r"does not fit network\.sam in \d+ tensors"):
        sam.load_sam(network.mvsam, _parts(replace(SAM, **change)).state_dict())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    two = MVSR3D(replace(TINY, classes=("ground", "building")))  # fewer classes than SAM has masks
    sam.load_sam(two.mvsam, _parts(SAM).state_dict())


# ---- epipolar cross attention ----


def test_attention_against_equations_1_5_6_7():
    q, k, v, d = torch.randn(5, 4), torch.randn(7, 4), torch.randn(7, 4), torch.rand(5, 7) * 3
    found = attend(q[None], k[None], v[None], d[None])[0]
    for i in range(5):
        logits = [float(q[i] @ k[j]) / math.sqrt(4) for j in range(7)]
        total = sum(math.exp(x) for x in logits)
        want = sum(math.exp(logits[j]) / total * (1 - 1 / (1 + math.exp(-float(d[i, j])))) * v[j] for j in range(7))
        torch.testing.assert_close(found[i], want, atol=1e-5, rtol=1e-5)


def test_eca_folds_in_order_residual_norm_mlp_and_in_parts(monkeypatch):
    import rsmvs.networks.eca as module

    eca = randomised(ECA(4, scale=2.0))
    a, b, pa, pb = (torch.randn(1, 4, 3, 5) for _ in range(4))
    d = torch.rand(1, 15, 15)
    with torch.no_grad():
        found = eca(a, b, pa, pb, d)
        q, k, v = ((x).flatten(2).mT for x in (a + pa, b + pb, b))
        x = eca.norm(a.flatten(2).mT + attend(q, k, v, d / 2))
        torch.testing.assert_close(found, (x + eca.mlp(x)).mT.reshape(1, 4, 3, 5))
        monkeypatch.setattr(module, "_QUERIES", 4)
        torch.testing.assert_close(eca(a, b, pa, pb, d), found)


def test_fundamental_matrix_of_known_cameras():
    """Two perspective cameras: F = K2^-T [t]x R K1^-1 up to scale, of rank 2."""
    rng = np.random.default_rng(0)
    angle, t = 0.2, np.array([0.5, 0.1, 0.05])
    rotation = np.array([[math.cos(angle), 0, math.sin(angle)], [0, 1, 0], [-math.sin(angle), 0, math.cos(angle)]])
    points = rng.uniform((-1, -1, 3), (1, 1, 5), (50, 3))
    moved = points @ rotation.T + t
    src, ref = points[:, :2] / points[:, 2:], moved[:, :2] / moved[:, 2:]
    cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
    want = cross @ rotation
    want /= np.linalg.norm(want)
    found = fundamental_matrix(torch.tensor(ref)[None], torch.tensor(src)[None])[0].numpy()
    assert min(np.abs(found - want).max(), np.abs(found + want).max()) < 1e-9
    assert np.linalg.svd(found)[1][2] < 1e-12
    many = fundamental_matrix(torch.tensor(np.stack([ref, ref + 3])), torch.tensor(np.stack([src, src * 100 - 7])))
    x = np.concatenate([src * 100 - 7, np.ones((50, 1))], 1), np.concatenate([ref + 3, np.ones((50, 1))], 1)
    lines = x[0] @ many[1].numpy().T
    assert np.abs((lines * x[1]).sum(1) / np.hypot(lines[:, 0], lines[:, 1])).max() < 1e-8  # other units: conditioning


def test_distance_to_epipolar_lines_against_a_direct_one():
    matrix = torch.randn(1, 3, 3, dtype=torch.float64)
    found = epipolar_distance(matrix, (3, 4), (2, 5))[0]
    for i, (r, c) in enumerate((r, c) for r in range(3) for c in range(4)):
        for j, (rs, cs) in enumerate((r, c) for r in range(2) for c in range(5)):
            line = matrix[0].numpy() @ [(cs + 0.5) * 2 / 5 - 1, (rs + 0.5) * 2 / 2 - 1, 1]
            # the foot of the perpendicular, searched along the line in token coordinates
            a, b = line[0] * 2 / 4, line[1] * 2 / 3
            offset = line[2] + line[0] * (1 / 4 - 1) + line[1] * (1 / 3 - 1)
            foot = np.array([c, r]) - (a * c + b * r + offset) / (a * a + b * b) * np.array([a, b])
            assert abs(float(found[i, j]) - np.hypot(*(foot - [c, r]))) < 1e-9


def test_virtual_points_are_warped_pixels():
    scene = sample(1, size=64)
    stack = stack_tensors([stack_of(scene)])
    ref, src = virtual_points(stack.fields[0], stack.z_range, 40, 3)
    h, w = stack.images[1].shape[-2:]
    col, row = ((ref[0, :, i] + 1) * 64 / 2 - 0.5 for i in (0, 1))
    u, v = ((src[0, :, i] + 1) * n / 2 - 0.5 for i, n in ((0, w), (1, h)))
    slope = scene.warps[0]
    height = (np.asarray(u) - np.asarray(col)) / 0.5  # the first source moves by half a pixel per metre along the columns
    x, y = slope(np.asarray(col), np.asarray(row), height + sum(scene.height_range) / 2)
    assert np.abs(x - np.asarray(u)).max() < 1e-3 and np.abs(y - np.asarray(v)).max() < 1e-3
    assert np.ptp(height) > 25 and np.abs(height).max() <= 20.001
    again = virtual_points(stack.fields[0], stack.z_range, 40, 3)
    assert torch.equal(again[1], src)


def test_epipolar_lines_of_real_cameras_follow_their_exact_curves(shared_data, capsys):
    """Over windows of 512 px of all real pairs the lines of F stay within 1.5 px of the curves of the RPCs."""
    benchmark, images = Path(__file__).parents[1] / "benchmarks" / "epipolar.py", shared_data / "autzen_public" / "images"
    said = subprocess.run([sys.executable, benchmark, "--images", images], check=True, capture_output=True, text=True).stdout
    with capsys.disabled():
        print(f"\n{said}", end="")
    rows = [line.split() for line in said.splitlines()[1:-1]]
    assert len(rows) == 56 and len({(a, b) for a, b, *_ in rows}) == 56
    assert min(float(reach) for _, _, reach, *_ in rows) > 300  # there is something to measure
    assert max(float(largest) for *_, largest in rows) < 1.5


# ---- SAM feature guide ----


def test_sam_fg_resizes_and_adds():
    guide = SamFeatureGuide(6, 4, (2, 3, 5))
    feats = [torch.randn(1, 5, 8, 12), torch.randn(1, 3, 16, 24), torch.randn(1, 2, 32, 48)]
    embedding = torch.randn(1, 6, 2, 3)
    for found, given in zip(guide(embedding, feats), feats, strict=True):
        assert 0.05 < float((found - given).square().mean().sqrt()) < 2  # it adds something from the start
    randomised(guide)
    with torch.no_grad():
        levels = guide.levels(embedding)
        assert [x.shape[-2:] for x in levels] == [(1, 1), (1, 2), (2, 3)]
        for found, given, e in zip(guide(embedding, feats), feats, levels, strict=True):
            resized = nn.functional.interpolate(e, size=given.shape[-2:], mode="bilinear", align_corners=False)
            torch.testing.assert_close(found, given + resized)
        assert (guide(embedding, feats)[2] - feats[2]).abs().max() > 1e-3


# ---- sparse prompts ----


def test_height_masks_split_at_the_mean_of_the_data():
    z = torch.tensor([[1.0, 2.0, 3.0], [6.0, 1000.0, 3.0]])[None, None]
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]])[None, None]
    high, low = height_masks(z, mask)
    assert high[0, 0].tolist() == [[False, False, True], [True, False, True]]  # mean 3: equal counts as high
    assert low[0, 0].tolist() == [[True, True, False], [False, False, False]]


def test_prompts_lie_where_the_rule_of_the_paper_puts_them():
    h = w = 512
    z = torch.linspace(0, 10, w).expand(1, 1, h, w)  # rises to the right
    labels = torch.full((1, h, w), CLASS_NAMES.index("foliage"))
    labels[:, :256] = CLASS_NAMES.index("building")
    labels[:, 500:] = -1
    labels[:, 480:500, :40] = CLASS_NAMES.index("ground")
    p = sparse_prompts(z, torch.ones_like(z), labels, CLASS_NAMES, 1200, 600, 7)
    assert [CLASS_NAMES[c] for c in p.classes] == ["ground", "building", "water"]
    assert p.points.shape == (1, 3, 1800, 2)
    for k, c in enumerate(p.classes):
        at = p.points[0, k].long()
        there = labels[0, at[:, 1], at[:, 0]]
        used = p.labels[0, k] >= 0
        inside, outside = p.labels[0, k] == 1, p.labels[0, k] == 0
        assert (there[inside] == c).all() and (there[outside] != c).all() and (there[used] >= 0).all()
        level = at[:, 0] >= 256 if CLASS_NAMES[c] == "building" else at[:, 0] < 256
        assert level[used].all()
        assert len(at[used].unique(dim=0)) == int(used.sum())  # every point once
        assert (p.labels[0, k, :1200] != 0).all() and (p.labels[0, k, 1200:] != 1).all()
    counts = [(int((p.labels[0, k] == 1).sum()), int((p.labels[0, k] == 0).sum())) for k in range(3)]
    assert counts == [(800, 600), (1200, 600), (0, 600)]  # the ground is 800 px large, there is no water
    same = sparse_prompts(z, torch.ones_like(z), labels, CLASS_NAMES, 1200, 600, 7)
    other = sparse_prompts(z, torch.ones_like(z), labels, CLASS_NAMES, 1200, 600, 8)
    assert torch.equal(p.points, same.points) and not torch.equal(p.points, other.points)
    small = sparse_prompts(z[..., :128, :128], torch.ones(1, 1, 128, 128), labels[:, :128, :128], SPACENET4, 1200, 600, 7)
    assert small.points.shape == (1, 2, 75 + 38, 2)  # a sixteenth of the area


# ---- the network ----


def run(options: Mvsr3dOptions, stack, source: MVSR3D | None = None) -> tuple[MVSR3D, SceneMaps]:
    torch.manual_seed(1)
    network = MVSR3D(options).eval()
    if source is None:
        randomised(network.mvsam)
        if network.guide is not None:
            randomised(network.guide)
    else:
        own = network.state_dict()
        network.load_state_dict({k: source.state_dict()[k] for k in own})
    with torch.no_grad():
        return network, network(stack)


def test_each_part_switched_off_changes_what_it_should():
    stack = stack_tensors([stack_of(labelled(0))])
    full, maps = run(TINY, stack)
    z, logits = maps.stages[-1].z, maps.logits
    assert logits.shape == (1, 6, 64, 64) and z.shape == (1, 1, 64, 64)
    without = {k: run(replace(TINY, **{k: False}), stack, full)[1] for k in ("eca", "sam_fg", "egspg")}
    assert torch.equal(without["eca"].stages[-1].z, z) and not torch.allclose(without["eca"].first, maps.first)
    assert torch.equal(without["sam_fg"].first, maps.first) and not torch.allclose(without["sam_fg"].stages[-1].z, z)
    assert torch.equal(without["egspg"].stages[-1].z, z) and torch.equal(without["egspg"].logits, maps.first)
    prompted = [CLASS_NAMES.index(c) for c in ("ground", "building", "water")]
    for c in range(6):
        same = torch.equal(logits[:, c], maps.first[:, c])
        assert same == (c not in prompted), c


def test_sources_matter_in_turn_and_a_batch_is_its_samples():
    both = stack_tensors([stack_of(labelled(i)) for i in (0, 1)])
    network, maps = run(replace(TINY, heights=False, egspg=False), both)
    for i in (0, 1):
        alone = stack_tensors([stack_of(labelled(i))])
        assert [x.shape[1:] for x in alone.images] == [x.shape[1:] for x in both.images]
        with torch.no_grad():
            torch.testing.assert_close(network(alone).logits[0], maps.logits[i], atol=1e-4, rtol=1e-3)
    assert not torch.allclose(maps.logits[0], maps.logits[1], atol=1e-2)
    swapped = replace(both, images=[both.images[i] for i in (0, 2, 1)], fields=both.fields[::-1],
                      masks=[both.masks[i] for i in (0, 2, 1)])
    with torch.no_grad():
        assert not torch.allclose(network(swapped).logits, maps.logits)


def test_rows_of_an_ablation_start_alike_in_what_they_share():
    states = []
    for change in ({}, {"eca": False}, {"sam_fg": False}, {"encoder": "frozen"}):
        torch.manual_seed(3)
        states.append(MVSR3D(replace(TINY, **change)).state_dict())
    for other in states[1:]:
        assert all(torch.equal(states[0][name], value) for name, value in other.items())


def test_wrong_architectures_are_refused():
    with pytest.raises(ConfigError, match="egspg"):
        MVSR3D(replace(TINY, heights=False))
    with pytest.raises(ConfigError, match="classes"):
        MVSR3D(replace(TINY, classes=("ground",)))


# ---- learning ----


def test_joint_loss_is_equation_17():
    logits, first = torch.randn(2, 6, 4, 4), torch.randn(2, 6, 4, 4)
    labels = torch.randint(-1, 6, (2, 4, 4))
    total, n = 0.0, 0
    for b in range(2):
        for r in range(4):
            for c in range(4):
                if labels[b, r, c] >= 0:
                    n += 1
                    total += sum(-float(torch.log_softmax(x[b, :, r, c], 0)[labels[b, r, c]]) for x in (logits, first)) / 2
    z = torch.randn(2, 1, 4, 4)
    stage = StageHeights(z, z, z, z, 1)
    maps = SceneMaps([stage], logits, first)
    assert float(segmentation_loss(maps, labels)) == pytest.approx(total / n, rel=1e-5)
    assert float(segmentation_loss(SceneMaps([], logits, logits), labels)) == pytest.approx(
        float(nn.functional.cross_entropy(logits, labels, ignore_index=-1)), rel=1e-5)
    task = JointTask(JointConfig(network=TINY))
    stack, truth = stack_tensors([stack_of(labelled(0, 32))]), torch.randn(2, 1, 4, 4)
    found = task.loss(lambda *_: maps, (stack, truth, labels))
    want = 20 * total / n + 1 * float(cascade_loss([stage], truth, (0.5, 1, 2)))
    assert float(found) == pytest.approx(want, rel=1e-5)


@pytest.mark.parametrize("encoder", ["lora", "frozen"])
def test_a_frozen_encoder_has_to_be_given(encoder):
    config = JointConfig(network=replace(TINY, encoder=encoder, lora_rank=2))
    whole = MVSR3D(replace(TINY, encoder="full")).state_dict()
    with pytest.raises(ConfigError, match=r"neither sam nor initial gives mvsam\.image_encoder"):
        JointTask(config)
    with pytest.raises(ConfigError, match="neither sam nor initial gives"):
        JointTask(config, initial={n: v for n, v in whole.items() if n.startswith("cascade.")})
    same = MVSR3D(config.network).state_dict()
    for task in (JointTask(config, sam=_parts(SAM).state_dict()), JointTask(config, initial=same)):
        assert (trainable(task.network.mvsam.image_encoder)[0] > 0) == (encoder == "lora")
    if encoder == "lora":  # its projections have other names there: half of it would stay random
        with pytest.raises(ConfigError, match=r"qkv\.base"):
            JointTask(config, initial=whole)


def test_class_sets():
    s = sample(0, size=32)
    classes = np.full((32, 32), -1, np.int16)
    classes[0, :6] = range(6)
    whole = class_truth([replace(s, classes=classes)], CLASS_NAMES, (32, 64))
    assert whole[0, 0, :8].tolist() == [0, 1, 2, 3, 4, 5, -1, -1] and (whole[0, :, 32:] == -1).all()
    four = class_truth([replace(s, classes=classes)], SPACENET4, (32, 32))
    assert four[0, 0, :7].tolist() == [0, 1, 2, 3, 3, 3, -1]
    two = class_truth([replace(s, classes=classes)], ("building", "ground"), (32, 32))
    assert two[0, 0, :7].tolist() == [1, -1, 0, -1, -1, -1, -1]


def test_one_batch_is_learned():
    options = replace(TINY, virtual_points=40, foreground=500, background=200)
    config = JointConfig(network=options, training=TrainOptions(lr=2e-3))
    task = JointTask(config)
    batch = task.collate([labelled(0), labelled(1)])
    optimiser = torch.optim.RMSprop(task.network.parameters(), lr=2e-3, alpha=0.9)
    task.network.train()
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        loss = task.loss(task.network, batch)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert min(losses[-5:]) < 0.6 * losses[0]
    with torch.no_grad():
        scores = task.scores(batch)
    assert set(scores) == {"wrong_3d", "wrong_class", "mae_10"}
    assert all(0 <= value <= count * 10 for value, count in scores.values())
    idle = [n for n, p in task.network.named_parameters() if p.requires_grad and p.grad is None]
    boxes_and_single_mask = ("point_embeddings.2", "point_embeddings.3", "hypernetworks_mlps.0.")
    assert all(any(known in n for known in boxes_and_single_mask) for n in idle), idle


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.set_num_threads(1)
    config = JointConfig(network=TINY)
    folder = tmp_path_factory.mktemp("mvsr3d")
    card = {"domain": {"gsd": [0.4, 0.6], "height_span": [20, 50]}}
    return train(lambda: JointTask(config), Scenes(2, 32), TrainOptions(steps=2), folder, [labelled(5, 32)], card)


def test_training_leaves_weights_that_come_back(weights):
    from rsmvs.io.weights import read_weights

    stored = read_weights(str(weights))
    network = mvsr3d_of(stored.tensors, stored.card, weights)
    assert network.options == TINY
    assert stored.card["training"]["steps"] == 2
    with pytest.raises(ManifestError, match="is no MVSR3D"):
        mvsr3d_of(stored.tensors, {"architecture": {"kind": "cascade"}}, "w")
    with pytest.raises(ManifestError, match="does not fit"):
        mvsr3d_of({}, stored.card, "w")


def test_training_from_a_configuration(tmp_path, capsys):
    from rsmvs.cli import main
    from rsmvs.config import as_dict
    from rsmvs.io.samples import write_sample

    for i in range(3):
        write_sample(tmp_path / "data" / f"{i}.npz", labelled(i, 48))
    config = {"network": as_dict(replace(TINY, encoder="lora", lora_rank=2)), "training": {"steps": 2}}
    config["data"] = {"dataset": "samples", "dataset_root": str(tmp_path / "data"), "crop": 32, "evaluation": 1}
    (tmp_path / "joint.yaml").write_text(json.dumps(config))
    torch.save(_parts(SAM).state_dict(), tmp_path / "sam.pth")
    assert main(["train", "-o", str(tmp_path / "run"), "--model", "mvsr3d", "--config", str(tmp_path / "joint.yaml"),
                 "--set", f"sam={tmp_path / 'sam.pth'}", "--lr", "0.002"]) == 0
    card = json.loads((tmp_path / "run" / "last.json").read_text())
    assert card["architecture"]["kind"] == "mvsr3d" and card["training"]["options"]["lr"] == 0.002
    assert set(card["metrics"]) >= {"wrong_3d", "wrong_class", "mae_10"}
    parameters = card["training"]["parameters"]
    frozen = sum(v.numel() for n, v in _parts(SAM).image_encoder.named_parameters())
    assert 0 < parameters["trained"] <= parameters["all"] - frozen
    assert "{trained:,} of {all:,} parameters are trained".format(**parameters) in capsys.readouterr().out


def test_the_rows_of_table_three_are_configurations():
    from rsmvs.cli.train import add_arguments, joint_config

    parser, found = argparse.ArgumentParser(), {}
    add_arguments(parser)
    for path in sorted((Path(__file__).parents[1] / "config" / "mvsr3d").glob("*.yaml")):
        flags = ["-o", "x", "--model", "mvsr3d", "--preset", "vit_b", "--config", str(path), "--batch_size", "4"]
        config = joint_config(parser.parse_args([*flags, "--set", f"network.classes={','.join(SPACENET4)}"]))
        n, t = config.network, config.training
        assert (n.sam, n.cascade.hypotheses, n.classes) == (SamOptions(), (64, 32, 8), SPACENET4)
        assert (t.lr, t.alpha, t.batch_size, t.dlossw) == (1e-3, 0.9, 4, (0.5, 1.0, 2.0))
        assert (config.class_weight, config.height_weight) == (20, 1)
        found[n.eca, n.egspg, n.sam_fg] = path.stem
    assert len(found) == 8
    assert (found[False, False, False], found[True, True, True]) == ("baseline", "full")


# ---- matching ----


def test_matcher_gives_heights_and_all_six_classes(weights):
    from rsmvs.stages.matchers import matcher_of

    match = matcher_of(HeightsOptions(model="mvsr3d", learned=LearnedOptions(weights=str(weights), window=64, overlap=16)))
    stack = stack_of(labelled(3, 96))
    image = stack.image.copy()
    image[:5] = np.nan
    found = match(replace(stack, image=image))
    assert found.classes is not None and found.classes.shape == (6, 96, 96)
    assert np.isnan(found.classes[:, :5]).all() and np.isnan(found.height[:5]).all()
    np.testing.assert_allclose(found.classes[:, 5:].sum(0), 1, atol=1e-5)
    assert np.isfinite(found.height[8:-8, 8:-8]).mean() > 0.9
    assert found.notes == ()
    far = match(replace(stack, gsd=2.0))
    assert len(far.notes) == 1
    with pytest.raises(ConfigError, match="was trained without"):
        matcher_of(HeightsOptions(model="mvsr3d", rdm=True, learned=LearnedOptions(weights=str(weights))))


def test_single_task_takes_its_heights_from_sgm():
    options = replace(TINY, heights=False, egspg=False, classes=SPACENET4)
    match = SemanticMatcher(MVSR3D(options), {}, LearnedOptions())
    stack = stack_of(labelled(3, 64))
    found = match(stack)
    assert found.classes is not None
    assert found.classes[[CLASS_NAMES.index("water"), CLASS_NAMES.index("elevated road")]].max() == 0
    assert np.isfinite(found.height).mean() > 0.5
    assert match(replace(stack, sources=())).classes.shape == (6, 64, 64)


# ---- votes ----


def test_majority_then_probability_then_order():
    def view(*rows):  # probabilities of four classes at each point
        return np.array(rows, np.float32).T

    a = view([0.6, 0.4, 0, 0], [0.9, 0.1, 0, 0], [0.5, 0.5, 0, 0], [0.1, 0.2, 0.7, 0], [1, 0, 0, 0])
    b = view([0.4, 0.6, 0, 0], [0.2, 0.8, 0, 0], [0.0, 1.0, 0, 0], [0.1, 0.2, 0.7, 0], [1, 0, 0, 0])
    c = view([0.3, 0.7, 0, 0], [0.0, 0.0, 1, 0], [1.0, 0.0, 0, 0], [np.nan] * 4, [1, 0, 0, 0])
    supports = np.array([1, 1, 1, 1, 0], bool)
    results = []
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        vote = ClassVote(4, (5,))
        for i in order:
            vote.feed((a, b, c)[i], supports)
        results.append(vote.result())
    for found in results:
        assert found.label.tolist() == [1, 0, 0, 2, -1]  # two of three; one each: 1.1 of class 0; one tie by sum; unanimous
        assert found.votes.tolist() == [3, 3, 3, 2, 0]
        np.testing.assert_allclose(found.margin, [1 / 3, 0, 1 / 3, 1, np.nan], atol=1e-6)
    tie = ClassVote(4, (1,))
    tie.feed(view([0.2, 0, 0.8, 0]), np.ones(1, bool))
    tie.feed(view([0.2, 0.8, 0, 0]), np.ones(1, bool))
    assert tie.result().label.tolist() == [1]  # equal votes and sums: the class that comes first


def test_votes_of_many_noisy_views_beat_one():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 4000)
    vote = ClassVote(4, truth.shape)
    single = []
    for _ in range(5):
        p = np.eye(4, dtype=np.float32)[truth].T + rng.normal(0, 0.7, (4, len(truth))).astype(np.float32)
        vote.feed(p, np.ones(truth.shape, bool))
        single.append((p.argmax(0) == truth).mean())
    assert (vote.result().label == truth).mean() > max(single) + 0.05


def test_classes_of_another_view_are_read_where_it_sees_the_point():
    height = np.full((20, 20), 104.0, np.float32)
    height[3, 3] = np.nan
    there = field((0.5, 0.0), 20, (80.0, 120.0))  # 104 m: two pixels to the right
    classes = np.arange(2 * 20 * 20, dtype=np.float32).reshape(2, 20, 20)
    found = seen_classes(height, there, classes)
    assert np.array_equal(found[:, :, :18][:, 10], classes[:, 10, 2:])
    assert np.isnan(found[:, :, 18:]).all() and np.isnan(found[:, 3, 3]).all()


# ---- in the workflow ----


def test_a_tile_gets_its_classes(tiny_scene, tmp_path, weights):
    """Heights by sgm and classes by MVSAM, through filter and fusion: every point and every known cell has a class."""
    import laspy

    from rsmvs.io.manifests import read_json
    from rsmvs.io.raster import opened
    from rsmvs.stages.heights import filter_heights, fuse_tile, predict_heights
    from rsmvs.types import CLASS_CODES

    config, plan = planned_tile(tiny_scene, tmp_path)
    single = replace(TINY, heights=False, egspg=False)
    w = train(lambda: JointTask(JointConfig(network=single)), Scenes(2, 32), TrainOptions(steps=1), tmp_path / "w")
    options = HeightsOptions(model="mvsr3d", learned=LearnedOptions(weights=str(w)))
    index, consistent, ledger = (plan.parent / n for n in ("heights/index.json", "consistent/index.json", "ledger.json"))
    predict_heights(plan, config.area, options, index)
    content = read_json(index)
    assert content["status"] == "ok", content["reason"]
    with opened(index.parent / content["layers"][0]["file"]) as src:
        assert src.descriptions[3:] == tuple(f"p_{n}" for n in CLASS_NAMES)
    filter_heights(index, plan, config.filter, consistent)
    fuse_tile(consistent, plan, config.area, config.fuse, ledger)
    products = read_json(ledger)["products"]
    assert {"semantic", "class_votes", "vote_margin"} <= set(products), read_json(ledger)
    with opened(plan.parent / products["semantic"]) as src, opened(plan.parent / products["n_views"]) as views:
        codes, n = src.read(1), views.read(1)
    assert set(np.unique(codes)) <= {0, *CLASS_CODES}
    assert (codes[n > 0] > 0).mean() > 0.99 and (codes > 0).any()
    with opened(plan.parent / products["vote_margin"]) as src:
        margin = src.read(1)
    assert ((margin[codes > 0] >= 0) & (margin[codes > 0] <= 1)).all()
    with opened(plan.parent / products["class_votes"]) as src:
        votes = src.read(1)
    assert np.array_equal(votes > 0, codes > 0) and votes.max() == 3 and (margin[votes == 1] == 1).all()
    points = laspy.read(plan.parent / products["points"])
    assert set(np.unique(points.classification)) <= set(CLASS_CODES)


def test_cells_that_a_refinement_moves_take_the_votes_of_their_new_height(tiny_scene, tmp_path, monkeypatch):
    """Two references at odds everywhere: a roof that three views hold, ground in the other. A stub moves half to the ground."""
    from rsmvs.io.raster import read_band
    from rsmvs.stages import refinement
    from rsmvs.stages.tile import Layer, read_plan, reference_window
    from rsmvs.stages.tile_fusion import fuse
    from rsmvs.types import CLASS_CODES

    config, path = planned_tile(tiny_scene, tmp_path)
    plan = read_plan(path)
    low, high = plan.height_range
    ground, roof = low + (high - low) / 3, low + (high - low) / 3 + 6
    layers = []
    for view, z, n, label in zip(list(plan.views.values())[:2], (roof, ground), (3, 1), ("building", "ground"), strict=True):
        window = reference_window(plan, view, config.area)
        bands = {"height": z, "n_views": n, "against": 0, "confirmed": 1, "repeated": 0, "confidence": 0.9, "sigma": 0.2,
                 **{f"p_{c}": float(c == label) for c in CLASS_NAMES}, "class": CLASS_NAMES.index(label)}  # fmt: skip
        layers.append(Layer(view, window, {k: np.full(window.shape, v, np.float32) for k, v in bands.items()}))

    def stub(surface, layers, height_range, crs, options, grid, smaller):
        assert np.nanmedian(surface.height) > roof - 0.1  # so far the roof, of which more is sure
        left = np.arange(grid.width) < grid.width // 2
        return surface._replace(height=np.where(left, ground, surface.height).astype(np.float32)), ()

    monkeypatch.setattr(refinement, "refined", stub)
    options = replace(config.fuse, refine=replace(config.fuse.refine, weights="ground-small"), outliers="keep")
    products, _ = fuse(layers, plan, config.area, options, tmp_path)
    dsm, codes, votes = (read_band(tmp_path / products[name])[0] for name in ("dsm", "semantic", "class_votes"))
    code = dict(zip(CLASS_NAMES, CLASS_CODES, strict=True))
    for z, label in ((ground, "ground"), (roof, "building")):
        here = np.abs(dsm - z) < 0.1
        assert here.mean() > 0.3
        assert (codes[here] == code[label]).mean() > 0.95 and (votes[here] <= 1).all(), label
