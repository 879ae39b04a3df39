"""Relative depth maps (RDM) in a cascade (Yu et al., LGRS 2025, "... with Relative Depth").

The RDM comes as three channels, the map under growing Gaussian blur. What the paper leaves open is chosen so:
the encoder is a plain convolutional pyramid; its features join the *reference* features alone (the RDM exists for
the reference), at every stage, through F' = F + gate * s(F, R) * g(F, R) with a spatial weight s in (0, 1), and a gate
per channel that starts at zero: added to a trained network the module changes nothing until it is trained itself.
Since a RDM is relative, its scale and shift are removed first.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rsmvs.networks.features import conv_block

_BOX = 17  # cells of the window in which RDM and height are taken as linearly related


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
            fused.append(f + gate * torch.sigmoid(weight) * change)
        return fused[::-1]


class RDMGuide(nn.Module):
    """Sharpens an upsampled height map by the RDM: a guided filter (He et al., TPAMI 2013), through a zero gate.

    In windows of _BOX cells height ~ a * rdm + b, by least squares weighted with the confidence.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, z_b1hw: torch.Tensor, confidence_b1hw: torch.Tensor, rdm_b1hw: torch.Tensor) -> torch.Tensor:
        def mean(x: torch.Tensor) -> torch.Tensor:
            return F.avg_pool2d(x, _BOX, 1, _BOX // 2, count_include_pad=False)

        weight = confidence_b1hw + 1e-3
        total = mean(weight)
        mean_r, mean_z = mean(weight * rdm_b1hw) / total, mean(weight * z_b1hw) / total
        variance = (mean(weight * rdm_b1hw * rdm_b1hw) / total - mean_r * mean_r).clamp(min=0)
        a = (mean(weight * rdm_b1hw * z_b1hw) / total - mean_r * mean_z) / (variance + 1e-3)
        b = mean_z - a * mean_r
        guided = mean(a) * rdm_b1hw + mean(b)
        return z_b1hw + torch.tanh(self.gate) * (guided - z_b1hw)


