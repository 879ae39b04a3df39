"""MVSR3D's equations where several things come together: sources in turn, prompted classes, a U-Net, SAM at its real size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_mvsr3d import SAM, TINY, _parts, labelled, randomised

from rsmvs.io.sam_weights import read_sam
from rsmvs.networks import sam
from rsmvs.networks.eca import epipolar_distance, fundamental_matrix, virtual_points
from rsmvs.networks.egspg import Prompts
from rsmvs.networks.mvsr3d import MVSR3D
from rsmvs.networks.sam_fg import SamFeatureGuide
from rsmvs.networks.tensors import stack_of, stack_tensors
from rsmvs.semantic_options import SamOptions

ALONE = replace(TINY, heights=False, egspg=False, sam_fg=False)


@pytest.fixture(autouse=True)
def _seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def test_sources_are_folded_in_one_after_another_as_equation_8_says():
    """Token by token: weights of (1), (5), (6), sum of (7), residual, norm, MLP; the result is the next query."""
    stack = stack_tensors([stack_of(labelled(0))])
    mvsam = randomised(MVSR3D(replace(ALONE, epipolar_scale=1.5))).mvsam
    embeddings = [torch.randn(1, 32, 4, 4), torch.randn(1, 32, 5, 6), torch.randn(1, 32, 6, 4)]
    with torch.no_grad():
        found = mvsam.fuse(embeddings, stack.fields, stack.z_range)
        eca, x = mvsam.eca, embeddings[0]
        for source, field in zip(embeddings[1:], stack.fields, strict=True):
            matched = virtual_points(field, stack.z_range, TINY.virtual_points, TINY.seed)
            distance = epipolar_distance(fundamental_matrix(*matched), (4, 4), source.shape[-2:])[0]
            place = [mvsam.prompt_encoder.pe_layer(tuple(e.shape[-2:])).flatten(1).T for e in (x, source)]
            reference, value = (e[0].flatten(1).T for e in (x, source))
            keys = value + place[1]
            rows = []
            for i in range(len(reference)):
                logits = [float((reference[i] + place[0][i]) @ key) / math.sqrt(32) for key in keys]
                most = max(logits)
                total = sum(math.exp(a - most) for a in logits)
                weights = [math.exp(a - most) / total / (1 + math.exp(float(d) / 1.5))
                           for a, d in zip(logits, distance[i], strict=True)]  # fmt: skip
                fused = reference[i] + sum(w * v for w, v in zip(weights, value, strict=True))
                spread = (fused - fused.mean()) / torch.sqrt(fused.var(unbiased=False) + 1e-5)
                normed = spread * eca.norm.weight + eca.norm.bias
                rows.append(normed + eca.mlp(normed))
            x = torch.stack(rows).T.reshape(1, 32, 4, 4)
        torch.testing.assert_close(found, x, atol=1e-4, rtol=1e-3)
        other = mvsam.fuse([embeddings[i] for i in (0, 2, 1)], stack.fields[::-1], stack.z_range)
    assert not torch.allclose(found, other, atol=1e-3)


def test_prompted_classes_are_those_of_one_class_and_one_sample_alone():
    """Equations (15), (16): the prompt encoder and the decoder of the package, called for each."""
    mvsam = randomised(MVSR3D(ALONE)).mvsam
    fused, unprompted = torch.randn(2, 32, 4, 6), torch.randn(2, 6, 60, 90)
    points = torch.rand(2, 3, 7, 2) * torch.tensor([90.0, 60.0])
    labels = torch.randint(-1, 2, (2, 3, 7))
    classes = (0, 2, 3)
    with torch.no_grad():
        found = mvsam.decode_prompted(fused, Prompts(points, labels, classes), unprompted)
        encoder, decoder = mvsam.prompt_encoder, mvsam.mask_decoder
        encoder.image_embedding_size, encoder.input_image_size = (4, 6), (64, 96)
        for i in range(2):
            for k, c in enumerate(classes):
                sparse, dense = encoder((points[i, k : k + 1], labels[i, k : k + 1]), None, None)
                masks, _ = decoder(fused[i : i + 1], encoder.get_dense_pe(), sparse, dense, multimask_output=True)
                large = torch.nn.functional.interpolate(masks, size=(64, 96), mode="bilinear", align_corners=False)
                torch.testing.assert_close(found[i, c], large[0, c, :60, :90], atol=1e-4, rtol=1e-3)
    kept = [c for c in range(6) if c not in classes]
    assert torch.equal(found[:, kept], unprompted[:, kept])
    assert float((found[:, 0] - found[:, 2]).abs().max()) > 1e-2  # the classes' masks differ


def convolved(maps: np.ndarray, block: torch.nn.Sequential) -> np.ndarray:
    """(c, h, w): 3 x 3 convolution with a rim of zeros, each cell normalised over its channels, ReLU."""
    weight, bias = (p.detach().numpy() for p in (block[0].weight, block[0].bias))
    gain, shift = (p.detach().numpy() for p in (block[1].weight, block[1].bias))
    _, h, w = maps.shape
    rim = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    out = np.empty((len(weight), h, w))
    for r in range(h):
        for c in range(w):
            cell = (weight * rim[:, r : r + 3, c : c + 3]).sum((1, 2, 3)) + bias
            cell = (cell - cell.mean()) / np.sqrt(cell.var() + 1e-5) * gain + shift
            out[:, r, c] = np.maximum(cell, 0)
    return out


def halved(maps: np.ndarray) -> np.ndarray:
    _, h, w = maps.shape
    cells = [[maps[:, r : r + 2, c : c + 2].mean((1, 2)) for c in range(0, w, 2)] for r in range(0, h, 2)]
    return np.array(cells).transpose(2, 0, 1)


def spread(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, cell centres on cell centres, the rim continued."""
    for axis, n in ((1, size[0]), (2, size[1])):
        place = np.clip((np.arange(n) + 0.5) * maps.shape[axis] / n - 0.5, 0, maps.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, maps.shape[axis] - 1)
        share = (place - low).reshape((-1, 1) if axis == 1 else (1, -1))
        maps = maps.take(low, axis) * (1 - share) + maps.take(high, axis) * share
    return maps


def test_the_u_net_of_sam_fg_against_a_direct_one():
    """Equation (11), on sides that do not halve evenly."""
    guide = randomised(SamFeatureGuide(6, 4, (2, 3, 5)))
    embedding = torch.randn(1, 6, 5, 7)
    first = convolved(embedding[0].numpy(), guide.first)
    second = convolved(halved(first), guide.down2)
    fourth = convolved(halved(second), guide.down4)
    middle = convolved(np.concatenate([spread(fourth, second.shape[1:]), second]), guide.up2)
    last = convolved(np.concatenate([spread(middle, first.shape[1:]), first]), guide.up1)
    with torch.no_grad():
        found = guide.levels(embedding)
    for level, maps, out in zip(found, (fourth, middle, last), guide.outs, strict=True):
        weight, bias = out.weight.detach().numpy()[:, :, 0, 0], out.bias.detach().numpy()
        want = np.einsum("oc,chw->ohw", weight, maps) + bias[:, None, None]
        np.testing.assert_allclose(level[0].numpy(), want, atol=1e-5)
    assert [tuple(x.shape[-2:]) for x in found] == [(2, 2), (3, 4), (5, 7)]


def cubic(n: int, stored: int) -> np.ndarray:
    """(n, stored) weights of a cubic convolution, a = -0.75, the rim continued."""
    matrix = np.zeros((n, stored))
    for i in range(n):
        place = (i + 0.5) * stored / n - 0.5
        for k in range(math.floor(place) - 1, math.floor(place) + 3):
            t = abs(place - k)
            near, far = (1.25 * t - 2.25) * t * t + 1, -0.75 * (((t - 5) * t + 8) * t - 4)
            matrix[i, min(max(k, 0), stored - 1)] += near if t <= 1 else far
    return matrix


@pytest.mark.parametrize("rows, cols", [(4, 4), (8, 8), (6, 10), (3, 5)])
def test_positions_of_other_windows_are_interpolated_bicubically(rows, cols):
    encoder = sam.image_encoder(SAM).eval()
    torch.nn.init.normal_(encoder.pos_embed)
    image = torch.randn(1, 1, 16 * rows, 16 * cols)
    seen = []
    encoder.blocks[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        sam.embed(encoder, image)
        found = (seen[0] - encoder.patch_embed(image.expand(-1, 3, -1, -1)))[0].numpy()
    want = np.einsum("ir,jc,rcd->ijd", cubic(rows, 4), cubic(cols, 4), encoder.pos_embed[0].detach().numpy())
    np.testing.assert_allclose(found, want, atol=1e-5)


@pytest.mark.soak
@pytest.mark.parametrize("side", [256, 1024])
def test_vit_b_comes_through_both_formats(side, tmp_path):
    """Width 768, 12 blocks, 256 channels, random weights: a folder of transformers, and the checkpoint made of it."""
    from transformers import SamConfig, SamModel

    vision = {"image_size": side}
    theirs = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=vision)).eval()
    assert (theirs.config.vision_config.hidden_size, theirs.config.vision_config.num_hidden_layers) == (768, 12)
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.02 * torch.randn_like(p))
    theirs.save_pretrained(tmp_path / "folder")
    image = torch.randn(1, 1, side, side)
    with torch.inference_mode():
        expected = theirs.get_image_embeddings(image.expand(-1, 3, -1, -1))
    del theirs
    assert expected.shape[1] == 256 and expected.std() > 0.1
    parts = _parts(SamOptions(positions=side // 16))
    assert sam.load_sam(parts, read_sam(tmp_path / "folder")) == []
    torch.save(parts.state_dict(), tmp_path / "sam.pth")
    for path in (tmp_path / "folder", tmp_path / "sam.pth"):
        with torch.no_grad():
            for p in parts.parameters():
                p.zero_()
        assert sam.load_sam(parts, read_sam(path)) == []
        with torch.inference_mode():
            torch.testing.assert_close(sam.embed(parts.image_encoder, image), expected, atol=1e-4, rtol=0)
