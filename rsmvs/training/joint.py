"""Heights and classes learned together: the task of MVSR3D, equation (17), and of MVSAM alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.network_options import CascadeOptions
from rsmvs.networks.learned import with_prior
from rsmvs.networks.mvsr3d import MVSR3D, SceneMaps
from rsmvs.networks.sam import load_sam
from rsmvs.networks.tensors import stack_tensors, truth_of
from rsmvs.semantic_options import JointConfig
from rsmvs.training.losses import cascade_loss, within_reach
from rsmvs.training.tasks import extent, rdm_stacks, start_from
from rsmvs.types import CLASS_NAMES, UNLABELLED, Sample

_CLOSE = 2.5  # m: largest height error of a cell that is right in both, as in mIoU3_2.5


class JointTask:
    """network: MVSR3D. A batch is (stack, true z, true classes)."""

    def __init__(
        self, config: JointConfig, sam: Mapping[str, torch.Tensor] | None = None,
        initial: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """sam: weights of a foundation model, by the names of the original checkpoints. initial: of MVSR3D.

        ConfigError where neither gives what of the encoder is not trained.
        """
        self.config, self.options = config, config.network
        self.half_on_cpu = self.options.heights and self.options.cascade.regularizer != "red"
        self.network = MVSR3D(self.options)
        if sam is not None:
            load_sam(self.network.mvsam, sam)
        else:
            _refuse_random(self.network, initial or {})
        start_from(self.network, initial)

    def collate(self, samples: Sequence[Sample]) -> Any:
        cascade: CascadeOptions = self.options.cascade if self.options.heights else CascadeOptions()
        stacks = rdm_stacks(samples, cascade)
        if not self.options.from_prior:
            stacks = [replace(s, prior=None) for s in stacks]
        else:
            stacks = [s if s.prior is not None else with_prior(s) for s in stacks]
        stack = stack_tensors(stacks, cascade.min_interval)
        h, w = stack.images[0].shape[-2:]
        return stack, truth_of(samples, (h, w)), class_truth(samples, self.options.classes, (h, w))

    def domain(self, samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
        return extent(samples)

    def loss(self, forward: Callable[..., SceneMaps], batch: Any) -> torch.Tensor:
        """L = alpha L_MVSAM + beta L_MVS, equation (17)."""
        stack, truth, labels = batch
        maps = forward(stack, labels if self.options.prompts == "truth" else None)
        loss = self.config.class_weight * segmentation_loss(maps, labels)
        if maps.stages:
            if stack.prior is not None:
                truth = within_reach(truth, maps.stages[0])
            loss = loss + self.config.height_weight * cascade_loss(maps.stages, truth, self.config.training.dlossw)
        return loss

    def scores(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Shares of cells: wrong in class or height (2.5 m), wrong in class; of the heights, mean error cut at 10 m."""
        stack, truth, labels = batch
        maps = self.network(stack)
        known = labels >= 0
        wrong = maps.logits.argmax(1) != labels
        out = {"wrong_class": (float(wrong[known].sum()), float(known.sum()))}
        if not maps.stages:
            return out
        error = (maps.stages[-1].z - truth).abs()[:, 0]
        with_height = torch.isfinite(error)
        both = known & with_height
        far = error[with_height].clamp(max=10).double()
        total = float(both.sum())
        return {"wrong_3d": (float((wrong | (error >= _CLOSE))[both].sum()), total), **out,
                "mae_10": (float(far.sum()), float(far.numel()))}

    def architecture(self) -> dict[str, Any]:
        return {"kind": "mvsr3d", **as_dict(self.options)}


def _refuse_random(network: MVSR3D, initial: Mapping[str, torch.Tensor]) -> None:
    """What of the encoder is not trained has to be given: a frozen random one sees nothing."""
    frozen = {f"mvsam.image_encoder.{n}": p for n, p in network.mvsam.image_encoder.named_parameters() if not p.requires_grad}
    missing = [n for n, p in frozen.items() if n not in initial or initial[n].shape != p.shape]
    if missing:
        cause = f"is '{network.options.encoder}', but neither sam nor initial gives {missing[0]}"
        raise ConfigError("network.encoder", cause, "give sam, the weights of a SAM, or learn the encoder whole (full)")


def class_truth(samples: Sequence[Sample], classes: tuple[str, ...], shape: tuple[int, int]) -> torch.Tensor:
    """(b, h, w) index among `classes`, -1 unknown: padding, unlabelled. What is not among them is 'other', if that is."""
    rest = classes.index("other") if "other" in classes else UNLABELLED
    table = torch.tensor([classes.index(n) if n in classes else rest for n in CLASS_NAMES] + [UNLABELLED])
    out = torch.full((len(samples), *shape), UNLABELLED, dtype=torch.long)
    for i, sample in enumerate(samples):
        if sample.classes is not None:
            labels = torch.from_numpy(sample.classes.astype("int64"))  # -1 takes the table's last entry
            out[i, : labels.shape[0], : labels.shape[1]] = table[labels]
    return out


def segmentation_loss(maps: SceneMaps, labels_bhw: torch.Tensor) -> torch.Tensor:
    """L_MVSAM: cross-entropy over the labelled pixels, the mean of both passes where the decoder ran twice, and of the hint.

    The paper names no loss; the first pass is learned too, since the prompts of the second rest on it.
    """
    passes = [maps.logits] if maps.first is maps.logits else [maps.first, maps.logits]
    passes += [] if maps.hint is None else [maps.hint]
    count = (labels_bhw >= 0).sum().clamp(min=1)
    sums = [F.cross_entropy(p.float(), labels_bhw, ignore_index=UNLABELLED, reduction="sum") for p in passes]
    return torch.stack(sums).mean() / count
