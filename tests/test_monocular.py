"""Learning relative depth from single images."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from rsmvs.training.monocular import TINY, MonocularTask, Turned, _freed
from rsmvs.types import Sample

SMALL = {
    **TINY, "reassemble_hidden_size": 16, "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8, "head_hidden_size": 4,
    "backbone_config": {**TINY["backbone_config"], "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 4,
                        "out_features": ["stage1", "stage2", "stage3", "stage4"]},
}  # fmt: skip


def bright_is_high(seed: int) -> Sample:
    """Blocks on flat ground, the brighter the higher: what one image can tell."""
    dice = np.random.default_rng(seed)
    heights = np.full((70, 70), 100.0, np.float32)
    for _ in range(6):
        r, c = dice.integers(0, 56, 2)
        heights[r : r + 14, c : c + 14] = 100 + dice.uniform(3, 15)
    image = (heights - 90) * 20 + dice.normal(0, 4, heights.shape)
    heights[:3] = np.nan
    return Sample(str(seed), (image.astype(np.float32),), (), heights, None, None, (90.0, 120.0), 0.5)


def test_loss_knows_neither_scale_nor_shift_of_the_heights():
    task = MonocularTask(SMALL)
    _, heights = task.collate([bright_is_high(0), bright_is_high(1)])
    known = torch.isfinite(heights)
    freed = _freed(torch.nan_to_num(heights), known)
    assert abs(float(freed[0][known[0]].abs().mean()) - 1) < 1e-4  # equation (5): unit mean distance

    def loss(found, truth=heights):
        return float(task.loss(lambda pixel_values: SimpleNamespace(predicted_depth=found), (None, truth)))

    right = (freed + 3).clamp(-3, 9)
    assert loss(right) < 1e-5
    assert loss(right, 0.1 * heights + 70) < 1e-4
    assert loss(6 - right) > 1.0
    noisy = right + torch.randn(right.shape, generator=torch.Generator().manual_seed(0))
    assert loss(noisy) > loss(right + 0.1 * (noisy - right)) > 0.01


def test_score_is_the_variance_that_the_best_scale_and_shift_leave_open():
    task = MonocularTask(SMALL)
    pixels, heights = task.collate([bright_is_high(2)])
    truth = torch.nan_to_num(heights)

    def score(found: torch.Tensor) -> float:
        task.network.forward = lambda pixel_values: SimpleNamespace(predicted_depth=found)
        total, count = task.scores((pixels, heights))["left_open"]
        assert count == 1
        return total

    assert score(3 + 0.2 * truth) < 1e-6
    assert score(3 - truth) == 1 == score(torch.full_like(truth, 3.0))  # what is nearer must be higher
    noisy = truth + truth.std() * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    assert 0.3 < score(noisy) < 0.7


def test_learns_what_one_image_tells():
    torch.manual_seed(0)
    task = MonocularTask(SMALL)
    optimiser = torch.optim.RMSprop(task.network.parameters(), lr=1e-3, alpha=0.9)
    losses = []
    for i in range(120):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * min(1.0, (i + 1) / 30)
        loss = task.loss(task.network, task.collate([bright_is_high(2 * i), bright_is_high(2 * i + 1)]))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.network.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.85 * np.mean(losses[:20])


def test_a_crop_is_turned_with_its_heights_and_differently_for_every_number():
    sample = bright_is_high(3)
    sample = replace(sample, heights=sample.images[0].copy())
    turned = Turned([sample] * 40)
    assert all(np.array_equal(turned[i].images[0], turned[i].heights) for i in range(40))
    assert np.array_equal(turned[7].images[0], turned[7].images[0])
    assert len({turned[i].images[0].tobytes() for i in range(40)}) == 8
    assert {np.sort(turned[i].images[0], None).tobytes() for i in range(40)} == {np.sort(sample.images[0], None).tobytes()}
