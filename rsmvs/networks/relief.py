"""The form of a height map as two bands of an image: what stands above its surroundings says building or tree.

Not in the published MVSR3D, whose classes see heights through point prompts alone. An encoder that learns from few simulated
scenes finds classes in heights long before it finds them in grey values, and heights look alike in simulated and real scenes.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

_FAR, _NEAR = 129, 17  # px, sides of the surroundings: wider than most buildings; a crown
_ABOVE, _OFF = 10.0, 2.0  # m that become 1
_MOST = 3.0
_CELL = 4  # px, in which the lowest surroundings are sought


def relief(z_b1hw: torch.Tensor) -> torch.Tensor:
    """(b, 2, h, w): height above the lowest surroundings, and off the mean close by; 0 where it is unknown (NaN)."""
    known = torch.isfinite(z_b1hw)
    z = torch.where(known, z_b1hw, 0.0)
    share = F.avg_pool2d(known.to(z.dtype), _NEAR, 1, _NEAR // 2)
    mean = F.avg_pool2d(z, _NEAR, 1, _NEAR // 2) / share.clamp(min=1e-6)
    bands = torch.cat([above_surroundings(z_b1hw) / _ABOVE, (z - mean) / _OFF], 1)
    return torch.where(known, bands.clamp(-_MOST, _MOST), 0.0)


def above_surroundings(z_b1hw: torch.Tensor) -> torch.Tensor:
    """(b, 1, h, w) metres above the lowest known height within some 65 px; NaN where it is unknown."""
    low = -F.max_pool2d(torch.where(torch.isfinite(z_b1hw), -z_b1hw, -1e6), _CELL, ceil_mode=True)
    low = -F.max_pool2d(-low, _FAR // _CELL, 1, _FAR // _CELL // 2)
    return z_b1hw - F.interpolate(low, size=z_b1hw.shape[-2:], mode="bilinear", align_corners=False)
