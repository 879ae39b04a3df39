"""Relative depth maps (RDM) in a cascade (Yu et al., LGRS 2025, "... with Relative Depth").

The RDM comes as three channels, the map under growing Gaussian blur. What the paper leaves open is chosen so:
the encoder is a plain convolutional pyramid; its features join the *reference* features alone (the RDM exists for
the reference), at every stage, through F' = F + gate * s(F, R) * g(F, R) with a spatial weight s in (0, 1), and a gate
per channel that starts at zero: added to a trained network the module changes nothing until it is trained itself.
Since a RDM is relative, its scale and shift are removed first. Features alone say little of heights: what a RDM knows best,
the form of the surface between and beside sure heights, comes in through the guide.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rsmvs.networks.features import conv_block

_BOX = 17  # cells of the window in which RDM and height are taken as linearly related
_GATE_RATE = 10.0  # an optimiser moves a parameter by its rate a step, whatever its gradient: a bare gate would never open


def normalised_rdm(rdm_bchw: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit deviation per image, one scale for all channels."""
    centred = rdm_bchw - rdm_bchw.mean((1, 2, 3), keepdim=True)
    return centred / centred.pow(2).mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)


class RDMFusion(nn.Module):
    """channels: widths of the reference features at strides 1, 2, 4, as in FeatureNet."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        c1, c2, c4 = channels
        self.enter = nn.ModuleList([conv_block(3, c1), conv_block(c1, c2, 2, 2), conv_block(c2, c4, 2, 2)])
        self.mix = nn.ModuleList(nn.Sequential(conv_block(2 * c, c), nn.Conv2d(c, 2 * c, 1)) for c in channels)
        self.gates = nn.ParameterList(nn.Parameter(torch.zeros(1, c, 1, 1)) for c in channels)

    def forward(self, feats: list[torch.Tensor], rdm_b3hw: torch.Tensor) -> list[torch.Tensor]:
        """feats at strides 4, 2, 1, fused."""
        fused: list[torch.Tensor] = []
        x = rdm_b3hw
        for enter, mix, gate, f in zip(self.enter, self.mix, self.gates, reversed(feats), strict=True):
            x = enter(x)
            weight, change = mix(torch.cat([f, x], 1)).chunk(2, 1)
            fused.append(f + _GATE_RATE * gate * torch.sigmoid(weight) * change)
        return fused[::-1]


class RDMGuide(nn.Module):
    """Sharpens a height map by the RDM: a guided filter (He et al., TPAMI 2013), through a gate per pixel, zero at the start.

    In windows of _BOX cells height ~ a * rdm + b, by least squares weighted with the confidence. The gate sees the
    confidence, how far the heights are from that line around, and how far the pixel would move.
    """

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        last = nn.Conv2d(width, 1, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.gate = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU(inplace=True), last)

    def forward(
        self, z_b1hw: torch.Tensor, confidence_b1hw: torch.Tensor, rdm_b1hw: torch.Tensor, interval_b111: torch.Tensor
    ) -> torch.Tensor:
        """Heights of the same shape; z and interval in metres."""

        def mean(x: torch.Tensor) -> torch.Tensor:
            return F.avg_pool2d(x, _BOX, 1, _BOX // 2, count_include_pad=False)

        level = z_b1hw.mean((2, 3), keepdim=True)  # differences of large squares would lose digits
        z, weight = z_b1hw - level, confidence_b1hw + 1e-3
        total = mean(weight)
        mean_r, mean_z = mean(weight * rdm_b1hw) / total, mean(weight * z) / total
        variance = (mean(weight * rdm_b1hw * rdm_b1hw) / total - mean_r * mean_r).clamp(min=0)
        a = (mean(weight * rdm_b1hw * z) / total - mean_r * mean_z) / (variance + 1e-3)
        b = mean_z - a * mean_r
        move = mean(a) * rdm_b1hw + mean(b) - z
        apart = torch.sqrt(mean(weight * move * move) / total + 1e-6)
        seen = torch.cat([confidence_b1hw, torch.log1p(apart / interval_b111), (move / interval_b111).clamp(-3, 3)], 1)
        return z_b1hw + torch.tanh(self.gate(seen.detach()).float()) * move
