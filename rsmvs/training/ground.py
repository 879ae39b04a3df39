"""Learning to refine a surface on the ground grid: crops of samples, the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from rsmvs.config import as_dict
from rsmvs.io.ground_samples import GroundSample, read_ground_sample
from rsmvs.network_options import RefinerOptions
from rsmvs.networks.ground_refiner import TOGETHER, GroundRefiner, chosen
from rsmvs.training.tasks import start_from

_SHARP = 0.5  # cells: how fast the share of a candidate in the truth falls with its distance
_CUT_M = 5.0  # m: larger errors count as that in the deciding score


@dataclass(frozen=True, eq=False)
class GroundBatch:
    """evidence (b, c, h, w), offsets (b, k, h, w) in cells, target (b, 1, h, w) in cells, NaN unknown; cell (b,) m."""

    evidence: torch.Tensor
    offsets: torch.Tensor
    target: torch.Tensor
    cell: torch.Tensor


class GroundCrops(Sequence[GroundSample]):
    """Random crops, turned and mirrored: number i from the seed and i alone. On the ground no direction is special but the
    sun's, which is any in the samples."""

    def __init__(self, paths: Sequence[Any], crop: int, crops_per_sample: int, seed: int = 0) -> None:
        self.paths, self.crop, self.each, self.seed = paths, crop, crops_per_sample, seed

    def __len__(self) -> int:
        return len(self.paths) * self.each

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        dice = np.random.default_rng([self.seed, index])
        sample = read_ground_sample(self.paths[index // self.each])
        h, w = sample.target.shape
        r, c = (int(dice.integers(0, max(n - self.crop, 0) + 1)) for n in (h, w))
        turns, mirror = int(dice.integers(4)), bool(dice.integers(2))

        def part(values: Any) -> Any:
            values = np.rot90(values[..., r : r + self.crop, c : c + self.crop], turns, (-2, -1))
            return np.ascontiguousarray(values[..., ::-1] if mirror else values)

        return GroundSample(part(sample.offsets), part(sample.channels), part(sample.base), part(sample.target),
                            part(sample.classes), sample.cell)


class GroundTask:
    """network: GroundRefiner."""

    def __init__(self, options: RefinerOptions, initial: Mapping[str, torch.Tensor] | None = None) -> None:
        self.options, self.half_on_cpu = options, False
        self.network = GroundRefiner(options)
        start_from(self.network, initial)

    def collate(self, samples: Sequence[GroundSample]) -> GroundBatch:
        channels = np.stack([s.channels for s in samples]).astype(np.float32) / 127
        b, k, c, h, w = channels.shape
        base = np.stack([s.base for s in samples]).astype(np.float32)
        evidence = np.concatenate([channels.reshape(b, k * c, h, w), base], 1)
        offsets = np.stack([s.offsets for s in samples]).astype(np.float32)
        target = np.stack([s.target for s in samples]).astype(np.float32)[:, None]
        return GroundBatch(*(torch.from_numpy(a) for a in (evidence, offsets, target, np.array([s.cell for s in samples]))))

    def domain(self, samples: Sequence[GroundSample]) -> dict[str, tuple[float, float]]:
        """Nothing: a sample does not tell the GSD of its images, the options of its making do."""
        return {}

    def loss(self, forward: Callable[..., torch.Tensor], batch: GroundBatch) -> torch.Tensor:
        """Cross-entropy with the candidates around the truth, and the error (smooth L1, cells) of their weighted mean."""
        logits = forward(batch.evidence).float()
        known = torch.isfinite(batch.target)
        apart = (batch.offsets - torch.nan_to_num(batch.target)).abs()
        near = apart <= TOGETHER
        share = torch.where(near, torch.exp(-apart / _SHARP), 0.0)
        none = (~near.any(1, keepdim=True)).to(share.dtype)
        share = torch.cat([share, none], 1) / (share.sum(1, keepdim=True) + none)
        entropy = -(share * torch.log_softmax(logits, 1)).sum(1, keepdim=True)
        own = torch.softmax(logits[:, :-1].masked_fill(~near, -1e4), 1)
        mean = (own * batch.offsets.clamp(-200, 200)).sum(1, keepdim=True)
        error = F.smooth_l1_loss(mean, torch.nan_to_num(batch.target), reduction="none", beta=0.5)
        loss = entropy + torch.where(near.any(1, keepdim=True), error, 0.0)
        return loss[known].sum() / known.sum().clamp(min=1)

    def scores(self, batch: GroundBatch) -> dict[str, tuple[float, float]]:
        """Mean error cut at 5 m, shares of the known cells below 1 and 2.5 m, and the same of the surface so far."""
        pairs = [
            chosen(logits, offsets.numpy())
            for logits, offsets in zip(self.network(batch.evidence).cpu(), batch.offsets.cpu(), strict=True)
        ]
        height, sure, _ = (torch.from_numpy(np.stack(maps))[:, None] for maps in zip(*pairs, strict=True))
        target = batch.target.cpu()
        known = torch.isfinite(target)
        cell = batch.cell.cpu().view(-1, 1, 1, 1).expand_as(target)[known].float()
        out: dict[str, tuple[float, float]] = {}
        for prefix, found in (("", height), ("prior_", torch.zeros_like(height))):
            error = (found - target)[known].abs() * cell
            values = {"mae_5": error.clamp(max=_CUT_M), "pag_1": error < 1, "pag_2.5": error < 2.5}
            out |= {prefix + name: (float(v.double().sum()), float(v.numel())) for name, v in values.items()}
        return out | {"sure": (float(sure[known].double().sum()), float(known.sum()))}

    def architecture(self) -> dict[str, Any]:
        return {"kind": "groundrefiner", **as_dict(self.options)}
