"""Learning relative depth from single images: a small network of Depth Anything's architecture, from simulated heights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from rsmvs.networks.depth_anything import depth_anything_of, normalised_pixels
from rsmvs.networks.relief import above_surroundings
from rsmvs.training.tasks import extent, start_from
from rsmvs.types import Sample

# ViT with a DPT head, small enough for a processor: 1.3 million weights.
TINY: dict[str, Any] = {
    "backbone_config": {
        "model_type": "dinov2", "hidden_size": 96, "num_attention_heads": 3, "num_hidden_layers": 8, "image_size": 224,
        "patch_size": 14, "out_features": ["stage2", "stage4", "stage6", "stage8"], "reshape_hidden_states": False,
        "apply_layernorm": True,
    },
    "reassemble_hidden_size": 96, "neck_hidden_sizes": [24, 32, 48, 64], "fusion_hidden_size": 32, "head_hidden_size": 16,
    "reassemble_factors": [4, 2, 1, 0.5], "patch_size": 14,
}  # fmt: skip
_FLAT = 0.1  # m: mean distance to the median below which a crop is not stretched any more
_SCALES = 3  # of the gradient term
_GRADIENT = 0.1  # its weight: with 0.5 the map stayed flat for 2000 steps
_LEVEL, _MOST = 3.0, 6.0  # what stands for the median height, as predictions are positive; largest distance to it


class Turned(Sequence[Sample]):
    """Single images of crops in one of their eight orientations, by the number of the crop: to one image none is special."""

    def __init__(self, crops: Sequence[Sample]) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: Any) -> Any:
        sample = self.crops[index]
        quarters, mirrored = divmod(int(np.random.default_rng([8, index]).integers(8)), 2)
        maps = (np.rot90(m, quarters) for m in (sample.images[0], sample.heights))
        image, heights = (np.ascontiguousarray(m.T if mirrored else m) for m in maps)
        return replace(sample, images=(image,), warps=(), heights=heights, classes=None, rdm=None, prior=None)


class MonocularTask:
    """network: Depth Anything. A batch is (pixels (b, 3, h, w), heights (b, h, w) m, NaN unknown).

    Heights count above their surroundings: what rises from the ground shows in one image, the slope of the ground does not.
    """

    def __init__(self, config: Mapping[str, Any], initial: Mapping[str, torch.Tensor] | None = None) -> None:
        self.config, self.half_on_cpu = dict(config), False
        self.network = depth_anything_of(self.config)
        torch.nn.init.constant_(self.network.head.conv3.bias, _LEVEL)  # past it comes a ReLU, which must not start dead
        start_from(self.network, initial)
        self.network.train()

    def collate(self, samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
        side = min(min(s.heights.shape) for s in samples) // 14 * 14
        pixels = torch.cat([normalised_pixels(s.images[0][:side, :side]) for s in samples])
        heights = np.stack([np.where(np.isfinite(s.images[0]), s.heights, np.nan)[:side, :side] for s in samples])
        return pixels, above_surroundings(torch.from_numpy(heights.astype(np.float32))[:, None])[:, 0]

    def domain(self, samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
        """Without a span: one image shows no heights to search."""
        return {"gsd": extent(samples)["gsd"]}

    def loss(self, forward: Callable[..., Any], batch: Any) -> torch.Tensor:
        """Differences to the heights freed of shift and scale, and of their gradients at several scales (Ranftl et al., TPAMI
        2022, equations (5) and (11)). The prediction keeps its own: freed as well, a flat one would explode."""
        pixels, heights = batch
        found = forward(pixel_values=pixels).predicted_depth
        known = torch.isfinite(heights)
        truth = _freed(torch.nan_to_num(heights), known).clamp(-_MOST, _MOST)
        difference = torch.where(known, found.float() - _LEVEL - truth, 0.0)
        loss = F.huber_loss(difference, torch.zeros_like(difference), reduction="sum") / known.sum().clamp(min=1)
        for k in range(_SCALES):
            d, m = difference[:, :: 2**k, :: 2**k], known[:, :: 2**k, :: 2**k]
            for dim in (1, 2):
                both = m.narrow(dim, 1, m.shape[dim] - 1) & m.narrow(dim, 0, m.shape[dim] - 1)
                steps = torch.where(both, d.diff(dim=dim).abs(), 0.0)
                loss = loss + _GRADIENT / _SCALES * steps.sum() / both.sum().clamp(min=1)
        return loss

    def scores(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Share of the variance of each crop's heights that the map leaves open; 1 of a flat or an inverted one."""
        pixels, heights = batch
        found = self.network(pixel_values=pixels).predicted_depth.float()
        left_open, count = 0.0, 0
        for one, truth in zip(found, heights, strict=True):
            known = torch.isfinite(truth)
            x, y = one[known].double(), truth[known].double()
            if y.numel() < 2 or float(y.std()) < _FLAT:
                continue
            spreads = x.std(unbiased=False) * y.std(unbiased=False)
            alike = ((x - x.mean()) * (y - y.mean())).mean() / spreads.clamp(min=1e-9)
            left_open += 1 - float(alike.clamp(0, 1)) ** 2  # what is nearer is higher
            count += 1
        return {"left_open": (left_open, count)}

    def architecture(self) -> dict[str, Any]:
        return {"kind": "depth_anything", **self.config}


def _freed(maps_bhw: torch.Tensor, known_bhw: torch.Tensor) -> torch.Tensor:
    """Each map less its median over the known cells, over their mean distance to it."""
    out = []
    for one, known in zip(maps_bhw, known_bhw, strict=True):
        values = one[known]
        median = values.detach().median() if values.numel() else one.new_zeros(())
        spread = (values - median).abs().mean() if values.numel() else one.new_ones(())
        out.append((one - median) / spread.clamp(min=_FLAT))
    return torch.stack(out)
