"""The last step of a cascade: each height becomes a convex combination of heights nearby.

Sharpens edges that the search has blurred, and can invent no height (after Park et al., NLSPN, ECCV 2020, one step). With
a prior the candidates are the prior's heights nearby and the height that the search found: it starts as the prior,
nearly, and learns where to leave it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rsmvs.networks.features import conv_block

OFFSETS = (-4, -1, 0, 1, 4)  # px, of rows and of columns
_START = 6.0  # logit of the pixel's own height before training
_RELIEF = 4.0  # intervals that count as one in the relief that the network sees


class Polish(nn.Module):
    def __init__(self, c_in: int, with_prior: bool, width: int = 16) -> None:
        super().__init__()
        n = len(OFFSETS) ** 2
        self.with_prior = with_prior
        seen = c_in + (6 if with_prior else 3)
        last = nn.Conv2d(width, n + with_prior, 3, padding=1)
        self.weigh = nn.Sequential(conv_block(seen, width), conv_block(width, width), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        nn.init.constant_(last.bias[n // 2 : n // 2 + 1], _START)

    def forward(
        self, z_b1hw: torch.Tensor, sigma_b1hw: torch.Tensor, confidence_b1hw: torch.Tensor, feats_bchw: torch.Tensor,
        interval_b111: torch.Tensor, prior_b1hw: torch.Tensor | None,
    ) -> torch.Tensor:
        """(b, 1, h, w) z. All heights in metres; prior: NaN = none."""
        unit = _RELIEF * interval_b111
        base, z = z_b1hw, z_b1hw.detach()
        inputs = [feats_bchw, confidence_b1hw.detach(), (sigma_b1hw.detach() / unit).clamp(max=3)]
        if self.with_prior:
            known = torch.zeros_like(z) if prior_b1hw is None else torch.isfinite(prior_b1hw).to(z.dtype)
            base = z_b1hw if prior_b1hw is None else torch.where(known > 0, prior_b1hw, z_b1hw)
            inputs += [known, ((z - base.detach()) / unit).clamp(-3, 3), _relief(z, unit)]
        weights = torch.softmax(self.weigh(torch.cat([*inputs, _relief(base.detach(), unit)], 1)).float(), 1)
        reach = max(OFFSETS)
        h, w = z.shape[-2:]
        padded = F.pad(base, (reach,) * 4, mode="replicate")
        polished = weights[:, -1:] * z_b1hw if self.with_prior else torch.zeros_like(z)
        for k, (r, c) in enumerate((r, c) for r in OFFSETS for c in OFFSETS):
            polished = polished + weights[:, k : k + 1] * padded[:, :, reach + r : reach + r + h, reach + c : reach + c + w]
        return polished


def _relief(z_b1hw: torch.Tensor, unit_b111: torch.Tensor) -> torch.Tensor:
    """Height above the mean around, in units, cut at 3."""
    reach = max(OFFSETS)
    local = F.avg_pool2d(z_b1hw, 2 * reach + 1, 1, reach, count_include_pad=False)
    return ((z_b1hw - local) / unit_b111).clamp(-3, 3)
