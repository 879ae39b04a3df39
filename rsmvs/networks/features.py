"""The image encoder of the cascades: a U-Net that returns features at strides 4, 2 and 1 (Gao et al., ICCV 2021).

Downsampling takes 2 x 2 cells to one and upsampling is bilinear between cell centres, so that every level keeps the
pixel convention of `rsmvs.geometry.warp_torch`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def conv_block(c_in: int, c_out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU. A kernel equal to its stride joins cells without a shift."""
    padding = 0 if kernel == stride else kernel // 2
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False), nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)
    )


def upsampled(maps_bchw: torch.Tensor, factor: int = 2) -> torch.Tensor:
    return F.interpolate(maps_bchw, scale_factor=float(factor), mode="bilinear", align_corners=False)


class FeatureNet(nn.Module):
    """Features of one image.

    channels: widths at stride 1, 2 and 4; also the widths of what is returned.
    """

    def __init__(self, channels: tuple[int, ...], c_in: int = 1) -> None:
        super().__init__()
        c1, c2, c4 = channels
        self.stem = nn.Sequential(conv_block(c_in, c1), conv_block(c1, c1))
        self.down2 = nn.Sequential(conv_block(c1, c2, 2, 2), conv_block(c2, c2), conv_block(c2, c2))
        self.down4 = nn.Sequential(conv_block(c2, c4, 2, 2), conv_block(c4, c4), conv_block(c4, c4))
        self.lateral2 = conv_block(c4 + c2, c2, 1)
        self.lateral1 = conv_block(c2 + c1, c1, 1)
        self.out4 = nn.Conv2d(c4, c4, 1)
        self.out2 = nn.Conv2d(c2, c2, 3, padding=1)
        self.out1 = nn.Conv2d(c1, c1, 3, padding=1)

    def forward(self, image_bchw: torch.Tensor) -> list[torch.Tensor]:
        """[stride 4, stride 2, stride 1]; height and width of the image must be multiples of 4."""
        f1 = self.stem(image_bchw)
        f2 = self.down2(f1)
        f4 = self.down4(f2)
        g2 = self.lateral2(torch.cat([upsampled(f4), f2], 1))
        g1 = self.lateral1(torch.cat([upsampled(g2), f1], 1))
        return [self.out4(f4), self.out2(g2), self.out1(g1)]
