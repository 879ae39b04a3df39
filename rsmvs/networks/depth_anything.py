"""Depth Anything: relative depth of one image (Yang et al., CVPR 2024; V2, NeurIPS 2024), as built by `transformers`.

The network sees an image as three equal channels, stretched between percentiles of the *whole* view window, and answers
with a relative inverse depth: larger is nearer to the sensor, scale and shift are unknown. Metric models answer with a
depth: larger is farther.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from rsmvs.errors import ConfigError, ManifestError
from rsmvs.networks.rdm_mosaic import mosaic
from rsmvs.types import F32

_MEAN = (0.485, 0.456, 0.406)  # of ImageNet, on which the encoder was trained
_DEVIATION = (0.229, 0.224, 0.225)
_STRETCH = (1.0, 99.0)  # percentiles that become 0 and 1


def depth_anything_of(config: Mapping[str, Any]) -> nn.Module:
    """An untrained network of the architecture that a `config.json` of transformers describes."""
    try:
        from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation
    except ImportError:
        raise ConfigError("rdm.model", "transformers is not installed", "pip install 'rsmvs[rdm]'") from None
    return DepthAnythingForDepthEstimation(DepthAnythingConfig(**config)).eval()


def patch_size(network: nn.Module) -> int:
    """Pixels of a side of a token."""
    size = network.config.backbone_config.patch_size
    if not isinstance(size, int):
        raise ManifestError("rdm.model", f"has patches of {size!r}", "give a Depth-Anything model")
    return size


def relative_depth(image: F32, network: nn.Module, window: int, overlap: float) -> F32:
    """(h, w) relative depth of a view window, larger = nearer, one scale throughout; NaN where the image is.

    window: side of what the network sees at once (px), rounded down to whole patches; overlap: share of it.
    """
    patch = patch_size(network)
    side = max(window // patch, 1) * patch
    stretched, known = _stretched(image)
    device = next(network.parameters()).device
    sign = -1.0 if getattr(network.config, "depth_estimation_type", "relative") == "metric" else 1.0

    def predict(part: F32) -> F32:
        h, w = part.shape
        full = np.pad(part, [(0, -h % patch), (0, -w % patch)], mode="reflect" if min(h, w) > patch else "edge")
        with torch.inference_mode():
            depth = network(pixel_values=_pixels(full).to(device)).predicted_depth
        return sign * depth[0, :h, :w].float().cpu().numpy()

    return np.where(known, mosaic(stretched, predict, side, overlap), np.nan).astype(np.float32)


def _stretched(image: F32) -> tuple[F32, Any]:
    known = np.isfinite(image)
    low, high = np.percentile(image[known], _STRETCH) if known.any() else (0.0, 1.0)
    scaled = np.clip((np.where(known, image, low) - low) / max(high - low, 1e-6), 0, 1)
    return scaled.astype(np.float32), known


def normalised_pixels(image: F32) -> torch.Tensor:
    """(1, 3, h, w) of an image (h, w) as the network takes it; NaN becomes black."""
    return _pixels(_stretched(image)[0])


def _pixels(stretched: F32) -> torch.Tensor:
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (_MEAN, _DEVIATION))
    return (torch.from_numpy(stretched).expand(1, 3, -1, -1) - mean) / deviation
