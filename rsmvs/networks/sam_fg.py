"""SAM feature guidance: the encoder's embedding enriches the features of the height branch, equations (11)-(13)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class _CellNorm(nn.LayerNorm):
    """Each cell by itself: what is added to features that are compared must not depend on the rest of a view's window."""

    def forward(self, maps_bchw: torch.Tensor) -> torch.Tensor:
        return super().forward(maps_bchw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(c_in, c_out, 3, padding=1), _CellNorm(c_out), nn.ReLU(inplace=True))


class SamFeatureGuide(nn.Module):
    """U-Net over an embedding, whose three levels, coarse to fine, are resized and added to those of the cascade.

    channels: of the cascade's features at strides 1, 2 and 4. The last layers start as all others do: from zero, what they add
    was 2 to 4 % of the features after 100 steps, 20 % after 1300 (docs/semantics.md).
    """

    def __init__(self, c_in: int, width: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.first, self.down2, self.down4 = _block(c_in, width), _block(width, width), _block(width, width)
        self.up2, self.up1 = _block(2 * width, width), _block(2 * width, width)
        self.outs = nn.ModuleList(nn.Conv2d(width, c, 1) for c in reversed(channels))

    def levels(self, embedding_bchw: torch.Tensor) -> list[torch.Tensor]:
        """Emd_U-sam, coarse to fine, equation (11)."""
        e1 = self.first(embedding_bchw)
        e2 = self.down2(F.avg_pool2d(e1, 2, ceil_mode=True))
        e4 = self.down4(F.avg_pool2d(e2, 2, ceil_mode=True))
        d2 = self.up2(torch.cat([_resized(e4, e2), e2], 1))
        d1 = self.up1(torch.cat([_resized(d2, e1), e1], 1))
        return [out(d) for out, d in zip(self.outs, (e4, d2, d1), strict=True)]

    def forward(self, embedding_bchw: torch.Tensor, feats: list[torch.Tensor]) -> list[torch.Tensor]:
        """feats: of `FeatureNet`, strides 4, 2, 1. Resize and sum, equations (12) and (13)."""
        return [f + _resized(e, f) for e, f in zip(self.levels(embedding_bchw), feats, strict=True)]


def _resized(maps: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps, size=like.shape[-2:], mode="bilinear", align_corners=False)
