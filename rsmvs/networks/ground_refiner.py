"""A network that refines a surface on the ground grid: among the candidate heights of each cell it chooses one.

Residual refinement of a surface from the images seen on it follows ResDepth (Stucker and Schindler, ISPRS Journal
2022); instead of a free correction it weighs candidates, each with what the views say of it (`rsmvs.fusion.evidence`), so
that no height is invented and the network tells how sure it is. Heights count in cells above the surface so far.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from torch import nn
from torch.nn import functional as F

from rsmvs.network_options import RefinerOptions
from rsmvs.types import F32

TOGETHER = 1.5  # cells: candidates this close are one answer
ASTRAY = 6.0  # cells: how far off the truth is taken to be when it is none of the candidates


class GroundRefiner(nn.Module):
    """A U-Net over the channels of all candidates; height and width are multiples of 2 to the number of halvings."""

    def __init__(self, options: RefinerOptions) -> None:
        super().__init__()
        self.options = options
        k, widths = options.candidates, options.widths
        self.first = _block(k * options.channels + options.base, widths[0])
        self.downs = nn.ModuleList(_block(a, b) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(_block(a + b, a) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[0], k + 1, 1)  # the last one: none of them
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        nn.init.constant_(self.last.bias[options.own : options.own + 1], 2.0)  # starts by keeping the surface

    def forward(self, evidence_bchw: torch.Tensor) -> torch.Tensor:
        """(b, k + 1, h, w) logits of the candidates, and of none of them.

        evidence: (b, k * channels + base, h, w): per candidate its channels, then those of the cell.
        """
        levels = [self.first(evidence_bchw)]
        for down in self.downs:
            levels.append(down(F.avg_pool2d(levels[-1], 2)))
        x = levels.pop()
        for up, skip in zip(reversed(self.ups), reversed(levels), strict=True):
            x = up(torch.cat([skip, F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)], 1))
        return self.last(x)


def _block(c_in: int, c_out: int) -> nn.Sequential:
    first, second = nn.Conv2d(c_in, c_out, 3, padding=1), nn.Conv2d(c_out, c_out, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


class Choice(NamedTuple):
    """(h, w) each. height: in cells above the surface so far; sure: probability of the group that won; spread: expected
    distance of the truth to the height (root of the mean square, cells)."""

    height: F32
    sure: F32
    spread: F32


def chosen(logits_khw: torch.Tensor, offsets_khw: F32) -> Choice:
    """The likeliest group of candidates within TOGETHER of one of them (ties: the first), and the mean of its members: roof
    and ground are never averaged. logits: (k + 1, h, w) as the network's; offsets: (k, h, w) heights of the candidates in
    cells above the surface so far. When none of them is right, the truth is taken to be ASTRAY cells off.
    """
    share = torch.softmax(logits_khw.float(), 0).numpy()
    out = Choice(*(np.zeros(share.shape[1:], np.float32) for _ in range(3)))
    _choose(share, offsets_khw, TOGETHER, ASTRAY, *out)
    return out


@njit(cache=True, nogil=True)
def _choose(share: F32, offsets: F32, together: float, astray: float, height: F32, sure: F32, spread: F32) -> None:
    n, h, w = offsets.shape
    for r in range(h):
        for c in range(w):
            best, mean = np.float32(-1.0), np.float32(0.0)
            for k in range(n):
                total, weighted = np.float32(0.0), np.float32(0.0)
                for m in range(n):
                    if abs(offsets[m, r, c] - offsets[k, r, c]) <= together:
                        total += share[m, r, c]
                        weighted += share[m, r, c] * offsets[m, r, c]
                if total > best:
                    best, mean = total, weighted / max(total, np.float32(1e-6))
            square = share[n, r, c] * astray * astray
            for m in range(n):
                square += share[m, r, c] * (offsets[m, r, c] - mean) ** 2
            height[r, c], sure[r, c], spread[r, c] = mean, min(best, np.float32(1.0)), np.sqrt(square)
