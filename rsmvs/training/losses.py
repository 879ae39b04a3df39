"""Losses of the heights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rsmvs.networks.cascade import StageHeights


def at_stride(truth_b1hw: torch.Tensor, stride: int) -> torch.Tensor:
    """Mean of the known heights in stride x stride cells, at the cells' centres; NaN where none is known."""
    if stride == 1:
        return truth_b1hw
    known = torch.isfinite(truth_b1hw).to(truth_b1hw.dtype)
    share = F.avg_pool2d(known, stride)
    total = F.avg_pool2d(torch.nan_to_num(truth_b1hw) * known, stride)
    return torch.where(share > 0, total / share.clamp(min=1e-6), torch.nan)


def height_loss(z_b1hw: torch.Tensor, truth_b1hw: torch.Tensor) -> torch.Tensor:
    """Smooth L1 over the known cells, metres.

    0.5 d^2 for |d| < 1 and |d| - 0.5 beyond: the published form, |d| beyond, has the same gradient but a step at 1.
    """
    known = torch.isfinite(truth_b1hw)
    distance = torch.where(known, z_b1hw - torch.nan_to_num(truth_b1hw), 0.0).abs()
    smooth = torch.where(distance < 1, 0.5 * distance * distance, distance - 0.5)
    return smooth.sum() / known.sum().clamp(min=1)


def within_reach(truth_b1hw: torch.Tensor, first: StageHeights) -> torch.Tensor:
    """The truth, NaN where the planes of the first stage do not hold it: a prior that is wrong there cannot be mended."""
    assert first.span is not None
    low, high = (F.interpolate(v.expand_as(first.z), scale_factor=first.stride, mode="nearest") for v in first.span)
    rim = F.interpolate(first.step, scale_factor=first.stride, mode="nearest")
    return torch.where((truth_b1hw >= low - rim) & (truth_b1hw <= high + rim), truth_b1hw, torch.nan)


def cascade_loss(stages: Sequence[StageHeights], truth_b1hw: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """sum_i w_i L_i over the stages that ran (coarse stages may be skipped, the polish counts as the last once more).

    weights: at strides 4, 2, 1.
    """
    by_stride = dict(zip((4, 2, 1), weights, strict=True))
    losses = [by_stride[s.stride] * height_loss(s.z, at_stride(truth_b1hw, s.stride)) for s in stages]
    return torch.stack(losses).sum()
