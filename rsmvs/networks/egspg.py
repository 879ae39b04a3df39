"""Elevation-guided sparse prompts: points for the mask decoder, chosen by the estimated heights, equations (14)-(15).

Points of a class are sought where its height suggests it: buildings above the mean height of the window, ground and
water below. Foliage (it changes with the season) and elevated roads (their height tells nothing) get none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

LEVELS = {"building": "high", "ground": "low", "water": "low"}  # of the classes that are prompted
_FULL = 512 * 512  # px from which the full number of points is taken


class Prompts(NamedTuple):
    """points: (b, p, n, 2) pixels (col, row) of p prompted classes; labels: (b, p, n), 1 foreground, 0 background, -1 none.

    classes: index of each prompted class among the network's.
    """

    points: torch.Tensor
    labels: torch.Tensor
    classes: tuple[int, ...]


def height_masks(z_b1hw: torch.Tensor, mask_b1hw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(m_high, m_low), (b, 1, h, w) bool: above (or at) and below the mean height of the data, equation (14)."""
    known = mask_b1hw > 0
    count = known.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = torch.where(known, z_b1hw, 0.0).sum((1, 2, 3), keepdim=True) / count
    return known & (z_b1hw >= mean), known & (z_b1hw < mean)


def sparse_prompts(
    z_b1hw: torch.Tensor, mask_b1hw: torch.Tensor, labels_bhw: torch.Tensor, classes: tuple[str, ...], foreground: int,
    background: int, seed: int,
) -> Prompts:
    """Random points of each prompted class and of its surroundings, within its level of height.

    labels_bhw: index of the class at each pixel, -1 unknown (of a first pass of the decoder, or the truth); unknown
    pixels yield no points. foreground, background: numbers of points in windows of 512 x 512 px or larger.
    """
    h, w = z_b1hw.shape[-2:]
    share = min(h * w / _FULL, 1.0)
    counts = [min(max(round(n * share), 1), h * w) for n in (foreground, background)]
    dice = torch.rand(2, h * w, generator=torch.Generator().manual_seed(seed)).to(z_b1hw.device)
    masks = dict(zip(("high", "low"), height_masks(z_b1hw, mask_b1hw), strict=True))
    known = labels_bhw >= 0
    points, labels = [], []
    prompted = tuple(i for i, name in enumerate(classes) if name in LEVELS)
    for i in prompted:
        level = masks[LEVELS[classes[i]]][:, 0] & known
        there = labels_bhw == i
        inside, has_inside = _sampled((level & there).flatten(1), dice[0], counts[0], w)
        outside, has_outside = _sampled((level & ~there).flatten(1), dice[1], counts[1], w)
        points.append(torch.cat([inside, outside], 1))
        labels.append(torch.cat([torch.where(has_inside, 1, -1), torch.where(has_outside, 0, -1)], 1))
    return Prompts(torch.stack(points, 1), torch.stack(labels, 1), prompted)


def _sampled(region_bp: torch.Tensor, dice_p: torch.Tensor, n: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(b, n, 2) pixels of the region with the highest dice, and (b, n) whether there is one."""
    score, index = torch.where(region_bp, dice_p, -1.0).topk(n, dim=1)
    return torch.stack([index % width, index // width], -1).float(), score >= 0
