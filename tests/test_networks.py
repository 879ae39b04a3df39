"""The learned cascades: each published formula beside a direct, slow computation, and what must hold by construction."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from analytic_scene import field, sample

from rsmvs.geometry.warp import WarpField
from rsmvs.geometry.warp_torch import at_stride, dense_field, lookup_field, normalised_field, sample_planes, source_pixels
from rsmvs.network_options import CascadeOptions
from rsmvs.networks.cascade import Cascade, StageHeights
from rsmvs.networks.cost_volume import PlaneSweep, SourceMaps, Visibility, zncc
from rsmvs.networks.features import FeatureNet, upsampled
from rsmvs.networks.polish import Polish
from rsmvs.networks.rdm_fusion import RDMFusion, RDMGuide
from rsmvs.networks.regularizers import Conv3d, ConvGRU, HeightPlanes, RecurrentED, StreamedReadOut, UNet3D, read_volume
from rsmvs.networks.tensors import normalised, stack_of, stack_tensors

TINY = CascadeOptions(feature_channels=(4, 4, 6), regularizer_widths=(4, 4, 4), levels=2, hypotheses=(8, 8, 4))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def rough_field() -> WarpField:
    """A lattice that no pixel grid coincides with, with curvature everywhere, and offsets of a large image."""
    rng = np.random.default_rng(1)
    ny, nx, step = 4, 5, 37.0
    coefs = rng.normal(size=(ny, nx, 4, 2)) * np.array([2.0, 8.0, 0.5, 0.1])[:, None]
    coefs[:, :, 0, 0] += step * np.arange(nx)
    coefs[:, :, 0, 1] += step * np.arange(ny)[:, None]
    return WarpField(coefs, np.array([-11.3, -7.7, 1 / step, 431.0, 1 / 60.0, 12.5, -3.25]), 0.0)


# ---- the warp field on tensors ----


def test_dense_field_is_the_warp_field(rough_field):
    h, w = 96, 128
    dense = dense_field(rough_field, (h, w), z0=400.0)[None]
    rows, cols = np.mgrid[:h, :w]
    for height in (371.0, 400.0, 491.0):
        u, v = rough_field(cols, rows, height)
        uv = source_pixels(dense, torch.full((1, 1, 1, 1), height - 400.0))[0].numpy()
        assert np.abs(uv - np.stack([u, v])).max() < 1e-3


def test_dense_field_at_stride_is_the_field_of_averaged_images():
    smooth = field((0.5, -0.3), 64, (0.0, 60.0), curve=0.4)
    dense = at_stride(dense_field(smooth, (64, 64), z0=30.0)[None], 4)
    rows, cols = np.mgrid[:16, :16]
    u, v = smooth.at_scale(4)(cols, rows, 41.0)
    uv = source_pixels(dense, torch.full((1, 1, 1, 1), 11.0))[0].numpy()
    assert np.abs((uv - 1.5) / 4 - np.stack([u, v])).max() < 1e-4


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_sampling_returns_the_value_of_a_linear_image(stride):
    """A map that holds its cells' own full-resolution coordinate returns the coordinate that was asked for."""
    h, w = 32, 48
    centre = stride * (torch.arange(w // stride) + 0.5) - 0.5
    maps = centre.view(1, 1, 1, -1).expand(1, 1, h // stride, -1)
    dense = torch.zeros(1, 2, 2, 7, 9)
    dense[:, 0] = torch.rand(1, 2, 7, 9) * (w - 4 * stride) + stride
    dense[:, 0, 1].clamp_(max=h - stride - 1)
    dense[:, 1, 0] = 0.5
    z = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)
    found = sample_planes(maps, lookup_field(normalised_field(dense[0], (h, w))[None], 1), z)
    expected = torch.stack([source_pixels(dense, z[:, k : k + 1])[:, :1] for k in (0, 1)], 2)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_warp_of_real_cameras_matches_the_exact_projection(shared_data):
    from rsmvs.geometry.warp import build_warp_field
    from rsmvs.io.raster import opened
    from rsmvs.io.rpc_files import find_camera
    from rsmvs.types import Window

    images = sorted((shared_data / "autzen_public" / "images").glob("*.tif"))[:2]
    cameras = []
    for path in images:
        with opened(path) as dataset:
            cameras.append(find_camera(str(path), dataset)[0])
    a, b = cameras
    window, (low, high) = Window(300, 200, 256, 192), a.height_range
    exact = build_warp_field(a, b.project, window, (low, high))
    u0, v0 = (float(np.floor(x)) for x in exact(428.0, 296.0, (low + high) / 2))
    dense = dense_field(exact.moved(300, 200, u0, v0), window.shape, (low + high) / 2)[None]
    rows, cols = np.mgrid[0:192:31, 0:256:37]
    for height in np.linspace(low, high, 5):
        u, v = b.project(*a.localise(cols + 300.0, rows + 200.0, height), height)
        uv = source_pixels(dense, torch.tensor(height - (low + high) / 2, dtype=torch.float32).view(1, 1, 1, 1))
        error = uv[0].numpy()[:, 0:192:31, 0:256:37] - np.stack([u - u0, v - v0])
        assert np.abs(error).max() < 0.021


# ---- features ----


def test_features_shift_with_the_image():
    """Four pixels in the image are one, two and four cells: no level drifts against another."""
    net = FeatureNet((4, 4, 6)).eval()
    image = torch.randn(1, 1, 96, 96)
    moved = net(torch.roll(image, 4, 3))
    for stride, a, b in zip((4, 2, 1), net(image), moved, strict=True):
        rim = 40 // stride
        expected = torch.roll(a, 4 // stride, 3)
        torch.testing.assert_close(b[..., rim:-rim, rim:-rim], expected[..., rim:-rim, rim:-rim], atol=1e-5, rtol=1e-4)


def test_features_of_a_mirrored_image_are_mirrored_when_the_kernels_are():
    net = FeatureNet((4, 4, 6)).eval()
    for p in net.parameters():
        if p.dim() == 4:
            p.data = (p.data + p.data.flip(3)) / 2
    image = torch.randn(1, 1, 64, 64)
    for a, b in zip(net(image), net(image.flip(3)), strict=True):
        torch.testing.assert_close(a.flip(3), b, atol=1e-5, rtol=1e-4)


def test_upsampling_keeps_a_ramp_at_cell_centres():
    ramp = (4 * (torch.arange(8) + 0.5) - 0.5).view(1, 1, 1, -1).expand(1, 1, 8, -1)
    fine = upsampled(ramp, 2)[0, 0, 3]
    torch.testing.assert_close(fine[2:-2], (2 * (torch.arange(16) + 0.5) - 0.5)[2:-2])


# ---- cost volume ----


def _sweep(weights=None, zncc_window=0):
    h, w, c = 12, 16, 5
    feats = torch.randn(1, c, h, w)
    sources = []
    for v in range(3):
        maps = torch.cat([torch.randn(1, c + 1, h, w), torch.ones(1, 1, h, w)], 1)
        maps[:, -1, :, :3] = 0 if v == 0 else 1
        dense = dense_field(field((0.5 - 0.4 * v, 0.2 * v), 16, (0.0, 20.0)), (h, w), 10.0)
        grid = lookup_field(normalised_field(dense, (h, w))[None], 1)
        sources.append(SourceMaps(maps, grid, None if weights is None else weights[v]))
    return PlaneSweep(feats, torch.randn(1, 1, h, w), sources, zncc_window)


@pytest.mark.parametrize("weighted", [False, True])
def test_cost_is_the_variance_over_the_views_that_see_the_pixel(weighted):
    weights = [torch.rand(1, 1, 12, 16) for _ in range(3)] if weighted else None
    sweep, z = _sweep(weights), torch.full((1, 1, 12, 16), 2.3)
    cost = sweep.cost(torch.cat([z - 4, z], 1))[0, :, 1]
    warped = [[maps[:, :, 0] for maps in sweep.warped(s, z)] for s in sweep.sources]
    for r in range(12):
        for c in range(16):
            values, w = [sweep.feats[0, :, r, c]], [1.0]
            for v, (feats, _, seen) in enumerate(warped):
                if seen[0, 0, r, c] > 0:
                    values.append(feats[0, :, r, c])
                    w.append(float(weights[v][0, 0, r, c]) if weights else 1.0)
            stack, total = torch.stack(values), torch.tensor(w)[:, None]
            mean = (total * stack).sum(0) / total.sum()
            expected = (total * (stack - mean) ** 2).sum(0) / total.sum()
            torch.testing.assert_close(cost[:-1, r, c], expected, atol=1e-5, rtol=1e-4)
            assert cost[-1, r, c] == pytest.approx((len(values) - 1) / 3)


def test_zncc_against_a_direct_sum():
    a, b = torch.randn(1, 1, 9, 11), torch.randn(1, 1, 9, 11)
    found = zncc(a, b, 5)[0, 0]
    for r, c in ((4, 5), (0, 0), (8, 3)):
        rows, cols = slice(max(r - 2, 0), r + 3), slice(max(c - 2, 0), c + 3)
        x, y = a[0, 0, rows, cols].double(), b[0, 0, rows, cols].double()
        dx, dy = x - x.mean(), y - y.mean()
        expected = (dx * dy).mean() / torch.sqrt(((dx * dx).mean() + 1e-3) * ((dy * dy).mean() + 1e-3))
        assert float(found[r, c]) == pytest.approx(float(expected), abs=1e-5)


def test_zncc_ignores_gain_and_offset_of_a_view():
    a = torch.randn(1, 1, 16, 16)
    assert zncc(a, 1.7 * a + 0.4, 5).min() > 0.98


def test_visibility_trusts_all_views_before_training():
    planes = HeightPlanes(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 4)
    weights = Visibility()(_sweep(), 4, lambda: planes.groups(12 * 16))
    assert len(weights) == 3
    assert all(float(w.detach().min()) > 0.9 for w in weights)


def test_visibility_sees_the_best_and_the_mean_agreement_whatever_the_groups():
    planes, sweep, head = [torch.full((1, 1, 12, 16), z) for z in (-6.0, -1.0, 2.0, 4.0, 9.0)], _sweep(), Visibility()
    torch.nn.init.normal_(head.head[2].weight)
    for source, found in zip(sweep.sources, head(sweep, 5, lambda: planes), strict=True):
        pairs = [sweep.warped(source, z) for z in planes]
        distance = torch.stack([((feats[:, :, 0] - sweep.feats) ** 2).mean(1, keepdim=True) for feats, _, _ in pairs])
        seen = torch.stack([s[:, :, 0] for _, _, s in pairs])
        statistics = torch.cat([distance.amin(0), distance.mean(0), seen.mean(0)], 1)
        torch.testing.assert_close(found, torch.sigmoid(head.head(statistics)))
    together = head(sweep, 5, lambda: [torch.cat(planes[:3], 1), torch.cat(planes[3:], 1)])
    torch.testing.assert_close(together[1], head(sweep, 5, lambda: planes)[1])


def test_visibility_holds_no_planes_but_those_at_hand():
    """Planes of a height per pixel, as beside a prior, would fill the memory."""
    made: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def groups():
        nonlocal most
        for k in range(6):
            most = max(most, sum(ref() is not None for ref in made))
            plane = torch.full((1, 1, 12, 16), float(k))
            made.append(weakref.ref(plane))
            yield plane

    with torch.no_grad():
        Visibility()(_sweep(), 6, groups)
    assert len(made) == 18 and most == 1  # three sources; the last plane is let go when the next one comes


# ---- regularisers and read-out ----


def test_soft_argmin_against_a_direct_sum():
    logits = torch.randn(2, 8, 3, 4) * 3
    read = read_volume(logits)
    for b, r, c in ((0, 0, 0), (1, 2, 3), (0, 1, 2)):
        e = torch.exp(logits[b, :, r, c].double())
        p, k = e / e.sum(), torch.arange(8).double()
        index = float((p * k).sum())
        first = int(np.floor(index)) - 1
        assert float(read.index[b, 0, r, c]) == pytest.approx(index, abs=1e-5)
        assert float(read.deviation[b, 0, r, c]) == pytest.approx(float((p * (k - index) ** 2).sum().sqrt()), abs=1e-4)
        assert float(read.confidence[b, 0, r, c]) == pytest.approx(float(p[max(first, 0) : first + 4].sum()), abs=1e-5)


@pytest.mark.parametrize("offset", [0.0, 300.0, -300.0])
def test_streamed_read_out_equals_the_volume(offset):
    """Also where exp of the logits overflows."""
    logits = torch.randn(1, 16, 5, 6) * 4 + offset
    stream = StreamedReadOut(16)
    for k in range(16):
        stream.feed(logits[:, k : k + 1])
    streamed, volume = stream.result(), read_volume(logits)
    torch.testing.assert_close(streamed.index, volume.index, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(streamed.deviation, volume.deviation, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(streamed.confidence, torch.softmax(logits, 1).max(1, keepdim=True).values)


def test_conv_gru_against_its_equations():
    gru, x, h = ConvGRU(3, 2), torch.randn(1, 3, 5, 5), torch.randn(1, 2, 5, 5)
    both = torch.sigmoid(torch.nn.functional.conv2d(torch.cat([x, h], 1), gru.gates.weight, gru.gates.bias, padding=1))
    u, r = both[:, :2], both[:, 2:]
    x_rh = torch.cat([x, r * h], 1)
    new = torch.tanh(torch.nn.functional.conv2d(x_rh, gru.candidate.weight, gru.candidate.bias, padding=1))
    torch.testing.assert_close(gru(x, h), (1 - u) * h + u * new)


def test_recurrent_checkpointing_changes_no_gradient():
    net = RecurrentED(3, 4, 2)
    planes = HeightPlanes(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 5)
    data = torch.randn(5, 1, 3, 8, 8)

    def cost(z):
        return data[int(z)].unsqueeze(2)

    gradients = []
    for training in (True, False):
        net.train(training)
        net.zero_grad()
        net(cost, planes, 64).index.mean().backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_recurrent_memory_does_not_grow_with_the_planes():
    """Tensors alive when a plane is asked for: as many at the third plane as at the last."""
    import gc

    net, alive = RecurrentED(3, 4, 2).eval(), []

    def cost(z):
        if float(z) in (3.0, 39.0):
            alive.append(sum(o.numel() for o in gc.get_objects() if type(o) is torch.Tensor))
        return torch.zeros(1, 3, 1, 16, 16) + z

    with torch.inference_mode():
        net(cost, HeightPlanes(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 40), 256)
    assert alive[1] <= alive[0] + 16
    assert alive[0] > 3 * 16 * 16


def test_unet_on_a_batch_of_one_equals_a_batch_of_two():
    """The direct kernel for a batch of one is the same convolution."""
    net = UNet3D(3, 4, 2).eval()
    volume = torch.randn(1, 3, 8, 8, 8)
    torch.testing.assert_close(net.volume(volume), net.volume(volume.repeat(2, 1, 1, 1, 1))[:1], atol=1e-5, rtol=1e-4)


# ---- relative depth ----


def _run(options, stack, source: Cascade | None = None):
    torch.manual_seed(0)
    net = Cascade(options).eval()
    if source is not None:
        missing, unexpected = net.load_state_dict(source.state_dict(), strict=False)
        assert not unexpected
        assert all(k.startswith(("rdm_fusion.", "rdm_guides.")) for k in missing)
    with torch.no_grad():
        return net, net(stack)


@pytest.mark.parametrize("planes", [2, 4])
def test_gradient_of_a_shallow_volume_in_bf16(planes):
    """oneDNN's own for two planes is made of memory that nothing was written to; a NaN there shows it (on avx512_bf16)."""
    layer, x = Conv3d(16, 16, 3, padding=1, bias=False), torch.randn(2, 16, planes, 24, 24)
    gradients = []
    for half in (False, True):
        spoiled = [torch.full((2**n,), torch.nan) for n in range(4, 22) for _ in range(4)]
        del spoiled
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            layer(x).float().square().mean().backward()
        gradients.append(layer.weight.grad.clone())
    assert (gradients[0] - gradients[1]).abs().max() < 0.05 * gradients[0].abs().max()


@pytest.mark.parametrize("regularizer", ["red", "casmvs", "ucs"])
def test_rdm_added_to_a_network_changes_nothing_until_it_is_trained(regularizer):
    plain = replace(TINY, regularizer=regularizer)
    stack = stack_tensors([stack_of(sample(0))])
    net, before = _run(plain, stack)
    fused, after = _run(replace(plain, rdm=True, rdm_guide=True), stack, net)
    for a, b in zip(before, after, strict=True):
        assert torch.equal(a.z, b.z)
    for gate in fused.rdm_fusion.gates:  # and once the gate opens, it changes something
        gate.data.fill_(0.5)
    with torch.no_grad():
        assert not torch.allclose(fused(stack)[-1].z, before[-1].z)


def test_rdm_gates_learn_from_the_first_step():
    fusion = RDMFusion((4, 4, 6))
    feats = [torch.randn(1, 6, 8, 8), torch.randn(1, 4, 16, 16), torch.randn(1, 4, 32, 32)]
    sum(f.pow(2).sum() for f in fusion(feats, torch.randn(1, 3, 32, 32))).backward()
    assert all(float(g.grad.abs().max()) > 0 for g in fusion.gates)


def test_rdm_fusion_against_its_equation():
    """F' = F + rate * gate * sigmoid(s) * g with (s, g) from the mixed features."""
    fusion = RDMFusion((4, 4, 6)).eval()
    for gate in fusion.gates:
        torch.nn.init.normal_(gate)
    feats, rdm = [torch.randn(1, 6, 8, 8), torch.randn(1, 4, 16, 16), torch.randn(1, 4, 32, 32)], torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        fused, x = fusion(feats, rdm), rdm
        for i in range(3):
            x = fusion.enter[i](x)
            both = fusion.mix[i](torch.cat([feats[2 - i], x], 1))
            c = both.shape[1] // 2
            expected = feats[2 - i] + 10 * fusion.gates[i] * torch.sigmoid(both[:, :c]) * both[:, c:]
            torch.testing.assert_close(fused[2 - i], expected)


def test_guided_filter_against_a_direct_least_squares():
    """In windows of 17 cells, cut at the rims: weighted fits z ~ a r + b, of which each pixel takes the mean."""
    n, reach, guide = 24, 8, RDMGuide()
    z, r, weight = torch.randn(n, n).double() * 5 + 40, torch.randn(n, n).double(), torch.rand(n, n).double()
    guide.gate[2].bias.data.fill_(9.0)
    inputs = (v.float().view(1, 1, n, n) for v in (z, weight, r))
    with torch.no_grad():
        found = guide(*inputs, torch.ones(1, 1, 1, 1))[0, 0]

    def window(i, j):
        return slice(max(i - reach, 0), i + reach + 1), slice(max(j - reach, 0), j + reach + 1)

    a, b = torch.zeros(n, n).double(), torch.zeros(n, n).double()
    for i in range(n):
        for j in range(n):
            w, rs, zs = weight[window(i, j)] + 1e-3, r[window(i, j)], z[window(i, j)]
            w = w / w.sum()
            mean_r, mean_z = (w * rs).sum(), (w * zs).sum()
            a[i, j] = (w * (rs - mean_r) * (zs - mean_z)).sum() / ((w * (rs - mean_r) ** 2).sum() + 1e-3)
            b[i, j] = mean_z - a[i, j] * mean_r
    for i, j in ((0, 0), (11, 12), (23, 5)):
        expected = a[window(i, j)].mean() * r[i, j] + b[window(i, j)].mean()
        assert float(found[i, j]) == pytest.approx(float(expected), abs=2e-3)


def test_rdm_guides_learn_from_the_first_step():
    guide, z = RDMGuide(), torch.randn(1, 1, 20, 20)
    found = guide(z, torch.rand(1, 1, 20, 20), torch.randn(1, 1, 20, 20), torch.ones(1, 1, 1, 1))
    assert torch.equal(found, z)
    found.pow(2).sum().backward()
    assert float(guide.gate[2].weight.grad.abs().max()) > 0


def test_rdm_guide_recovers_an_edge_that_the_heights_have_blurred():
    """Where the heights are unsure of themselves they follow the relative depth, at the scale of the sure ones around."""
    step = (torch.arange(40) >= 20).float().view(1, 1, 1, -1).expand(1, 1, 40, -1)
    blurred = torch.nn.functional.avg_pool2d(step * 10, 7, 1, 3, count_include_pad=False)
    guide = RDMGuide()
    guide.gate[2].bias.data.fill_(9.0)  # wide open
    truth = step * 10
    confidence = torch.where(blurred == truth, 0.9, 0.02)
    with torch.no_grad():
        sharpened = guide(blurred, confidence, step * 2 - 1, torch.ones(1, 1, 1, 1))
    assert float((sharpened - truth).abs().mean()) < 0.5 * float((blurred - truth).abs().mean())


# ---- the cascade ----


@pytest.mark.parametrize("regularizer", ["red", "casmvs", "ucs"])
@pytest.mark.parametrize("views", [2, 4])
def test_cascade_runs_with_any_number_of_views(regularizer, views):
    options = replace(TINY, regularizer=regularizer, visibility=True, zncc_window=3, polish=True)
    _, stages = _run(options, stack_tensors([stack_of(sample(0, views=views))]))
    assert [s.stride for s in stages] == [4, 2, 1, 1]
    assert stages[-1].z.shape == (1, 1, 64, 64)
    for s in stages:
        assert torch.isfinite(s.z).all()
        assert float(s.confidence.min()) >= 0
        assert float(s.confidence.max()) <= 1 + 1e-5


def test_first_stage_spans_the_range_and_later_ones_their_distance():
    net = Cascade(TINY).eval()
    stack = stack_tensors([stack_of(sample(0))])
    first = net._planes(stack, [], 0)
    assert float(first.some(0, 0 + 1)) == -20
    assert float(first.some(7, 7 + 1)) == pytest.approx(20)
    z = torch.full((1, 1, 16, 16), 3.0)
    previous = StageHeights(z, z * 0.2, z * 0, z, 4)
    planes = net._planes(stack, [previous], 1)  # eight planes, two GSD of 0.5 m apart, around 3 m
    assert torch.allclose(planes.some(0, 0 + 1), torch.tensor(3.0 - 3.5))
    assert torch.allclose(planes.some(7, 7 + 1), torch.tensor(3.0 + 3.5))
    adaptive = Cascade(replace(TINY, regularizer="ucs"))._planes(stack, [previous], 1)
    assert torch.allclose(adaptive.some(0, 0 + 1), torch.tensor(3.0 - 1.5 * 0.6))
    assert torch.allclose(adaptive.some(7, 7 + 1), torch.tensor(3.0 + 1.5 * 0.6))


def test_beside_an_edge_the_next_range_holds_both_sides():
    edge = torch.zeros(1, 1, 16, 16)
    edge[..., 8:] = 30.0
    previous = StageHeights(edge, edge * 0, edge * 0, edge, 4)
    stack = stack_tensors([stack_of(sample(0))])
    narrow, wide = (Cascade(replace(TINY, reach_cells=n))._planes(stack, [previous], 1) for n in (1, 3))
    for planes, holds in ((narrow, False), (wide, True)):
        low, high = planes.low[0, 0, 5], (planes.low + planes.step * 7)[0, 0, 5]
        assert bool((low[15:17] <= 0).all() and (high[15:17] >= 30).all()) is holds
        assert float(high[2] - low[2]) == pytest.approx(7.0)  # far from it: two GSD of 0.5 m between eight planes


def test_prior_skips_the_coarse_stages_and_is_searched_around():
    scene = sample(0)
    prior = scene.heights.copy()
    prior[20:30, 20:30] = np.nan
    net, stages = _run(TINY, stack_tensors([stack_of(replace(scene, prior=prior))]))
    assert [s.stride for s in stages] == [2, 1]
    stack = stack_tensors([stack_of(replace(scene, prior=prior))])
    planes = net._planes(stack, [], 1)
    z = torch.from_numpy(scene.heights - 100)[None, None]
    z_low, z_high = -torch.nn.functional.max_pool2d(-z, 2), torch.nn.functional.max_pool2d(z, 2)
    assert (planes.some(0, 0 + 1) <= z_low - 0.99).all()  # two GSD below everything nearby
    assert (planes.some(7, 7 + 1) >= z_high + 0.99).all()
    nothing = stack_tensors([stack_of(replace(scene, prior=np.full_like(prior, np.nan)))])
    assert float(net._planes(nothing, [], 1).low.max()) <= -20


def test_padding_a_window_moves_nothing():
    """A window of 64 and one of 61 rows and columns, padded to 64, agree away from the cut."""
    scene = sample(0)
    cut = replace(scene, images=(scene.images[0][:61, :61], *scene.images[1:]), heights=scene.heights[:61, :61], rdm=None)
    torch.manual_seed(0)
    net = Cascade(TINY).eval()
    net.regularizers.eval()
    with torch.no_grad():
        a = net.features(stack_tensors([stack_of(scene)]).images[0])[2]
        full = stack_tensors([stack_of(scene)])
        b = net.features(torch.where(stack_tensors([stack_of(cut)]).masks[0] > 0, full.images[0], torch.zeros(())))[2]
    torch.testing.assert_close(a[..., :16, :16], b[..., :16, :16], atol=1e-5, rtol=1e-4)
    fields = [stack_tensors([stack_of(s)]).fields[0] for s in (scene, cut)]
    assert torch.equal(*fields)


def test_normalisation_ignores_gaps():
    image = np.random.default_rng(0).normal(300, 20, (32, 32)).astype(np.float32)
    image[:4] = np.nan
    values, mask = normalised(image)
    assert mask[:4].max() == values[:4].max() == 0
    assert values[4:].mean() == pytest.approx(0, abs=1e-5)
    assert values[4:].std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("with_prior", [False, True])
def test_polish_starts_as_its_base_and_invents_no_height(with_prior):
    z, one = torch.rand(1, 1, 16, 16) * 20, torch.ones(1, 1, 16, 16)
    prior = torch.rand(1, 1, 16, 16) * 20 + 30 if with_prior else None
    polish, feats, interval = Polish(4, with_prior).eval(), torch.randn(1, 4, 16, 16), torch.ones(1, 1, 1, 1)
    base = z if prior is None else prior
    with torch.no_grad():
        assert (polish(z, one, one, feats, interval, prior) - base).abs().max() < 3
        torch.nn.init.normal_(polish.weigh[2].weight, std=2.0)
        wild = polish(z, one, one, feats, interval, prior)
    assert float(wild.min()) >= float(torch.minimum(z, base).min()) - 1e-4
    assert float(wild.max()) <= float(torch.maximum(z, base).max()) + 1e-4


def test_polish_takes_the_found_height_where_the_prior_has_none():
    z, one = torch.full((1, 1, 16, 16), 7.0), torch.ones(1, 1, 16, 16)
    prior = torch.full_like(z, torch.nan)
    with torch.no_grad():
        found = Polish(4, True).eval()(z, one, one, torch.randn(1, 4, 16, 16), torch.ones(1, 1, 1, 1), prior)
    torch.testing.assert_close(found, z)


def test_memory_that_a_network_freed_is_kept_for_its_next_layer():
    """What a process still holds of 256 MB that it has filled and dropped, MB."""
    program = """
import sys, torch
from rsmvs.networks.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1)
    sys.exit()
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6
torch.ones(1 << 10)
before = held()
torch.ones(1 << 26)
print(held() - before)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    plain, kept = (
        float(subprocess.run([sys.executable, "-c", program, word], env=environment, check=True, capture_output=True).stdout)
        for word in ("plain", "keep")
    )
    if kept < 0:
        pytest.skip("the C library has no mallopt")
    assert plain < 60 < 150 < kept
