"""MVSR3D as a matcher: heights and class probabilities of a reference, window by window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rsmvs.errors import ConfigError
from rsmvs.networks import sgm
from rsmvs.networks.device import best_device
from rsmvs.networks.learned import domain_notes, heights_of, rdm_notes, restored, with_prior
from rsmvs.networks.matcher import Heights, ViewStack
from rsmvs.networks.mvsr3d import MVSR3D
from rsmvs.networks.tensors import stack_tensors
from rsmvs.networks.windows import match_in_windows
from rsmvs.options import LearnedOptions, SgmOptions
from rsmvs.semantic_options import Mvsr3dOptions
from rsmvs.types import CLASS_NAMES, F32


def mvsr3d_of(tensors: Mapping[str, torch.Tensor], card: Mapping[str, Any], where: object) -> MVSR3D:
    """`restored` for the models mvsr3d and mvsam."""
    return restored(MVSR3D, Mvsr3dOptions, "MVSR3D", tensors, card, where)


_TOKENS = 64  # a side, as in SAM itself: the memory of attention grows with the fourth power


class SemanticMatcher:
    """match(stack) -> Heights with classes. Of MVSAM alone, and where options or card say so, the heights are those of
    semi-global matching, and the network gives the classes only."""

    def __init__(
        self, network: MVSR3D, card: Mapping[str, Any], options: LearnedOptions, sgm: SgmOptions | None = None
    ) -> None:
        if options.backend == "openvino":
            raise ConfigError("heights.learned.backend", "is 'openvino', which does not run mvsr3d", "choose auto or torch")
        self.keeps_prior = _keeps_prior(network.options, options.heights_from, str(card.get("heights_from", "network")))
        if options.threads:
            torch.set_num_threads(options.threads)
        self.device, self.half, self.sgm = best_device(), options.precision == "bf16", sgm or SgmOptions()
        self.network, self.domain, self.options = network.to(self.device).eval(), card.get("domain", {}), options

    def all(self, stacks: Sequence[ViewStack]) -> list[Heights]:
        """Of several references, one after another."""
        return [self(stack) for stack in stacks]

    def __call__(self, stack: ViewStack) -> Heights:
        options = self.network.options
        whole_range = options.heights and not options.from_prior
        matched = sgm.match(stack, self.sgm) if self.keeps_prior and stack.sources else None
        if matched is not None:
            stack = replace(stack, prior=matched.height)
        elif options.from_prior and stack.prior is None and stack.sources:
            stack = with_prior(stack, self.sgm)
        window = min(self.options.window, _TOKENS * options.sam.patch)
        found = match_in_windows(stack, self._match, window, self.options.overlap)
        notes = domain_notes(self.domain, stack, whole_range) + (rdm_notes(options.cascade, stack) if options.heights else [])
        return replace(matched or found, classes=found.classes, notes=tuple(notes))

    def _match(self, stack: ViewStack) -> Heights:
        if not np.isfinite(stack.image).any() or not stack.sources:
            nothing = np.full((len(CLASS_NAMES), *stack.image.shape), np.nan, np.float32)
            return replace(Heights.none(stack.image.shape), classes=nothing)
        tensors = stack_tensors([stack], self.network.options.cascade.min_interval)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            maps = self.network(tensors.to(self.device))
            p = torch.softmax(maps.logits.float(), 1)[0].cpu().numpy()
        found = Heights.none(stack.image.shape)
        if maps.stages:
            last = maps.stages[-1]
            found = heights_of([stack], tensors, *(x.float().cpu() for x in (last.z, last.sigma, last.confidence)))[0]
        return replace(found, classes=self._all_classes(p, stack.image))

    def _all_classes(self, p_chw: F32, image: F32) -> F32:
        """Probabilities in the order of CLASS_NAMES, 0 of those the network does not know, NaN without data."""
        h, w = image.shape
        out = np.zeros((len(CLASS_NAMES), h, w), np.float32)
        for p, name in zip(p_chw, self.network.options.classes, strict=True):
            out[CLASS_NAMES.index(name)] = p[:h, :w]
        out[:, ~np.isfinite(image)] = np.nan
        return out


def _keeps_prior(network: Mvsr3dOptions, asked: str, recommended: str) -> bool:
    """Whether the heights are those of semi-global matching. asked: by the options; recommended: by the card."""
    if not network.heights:
        if asked == "network":
            raise ConfigError("heights.learned.heights_from", "is 'network', but mvsam has no heights", "choose card or prior")
        return True
    if asked == "prior" and not network.from_prior:
        cause = "is 'prior', but the network starts from none"
        raise ConfigError("heights.learned.heights_from", cause, "choose card or network")
    return (recommended if asked == "card" else asked) == "prior" and network.from_prior
