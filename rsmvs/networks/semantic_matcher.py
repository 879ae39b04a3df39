"""MVSR3D as a matcher: heights and class probabilities of a reference, window by window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rsmvs.networks import sgm
from rsmvs.networks.learned import domain_notes, heights_of, restored, with_prior
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


class SemanticMatcher:
    """match(stack) -> Heights with classes. MVSAM alone gives the classes, semi-global matching its heights."""

    def __init__(self, network: MVSR3D, card: Mapping[str, Any], options: LearnedOptions) -> None:
        if options.threads:
            torch.set_num_threads(options.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network, self.domain, self.options = network.to(self.device).eval(), card.get("domain", {}), options
        self.from_prior = network.cascade is not None and network.options.cascade.prior == "sgm"

    def __call__(self, stack: ViewStack) -> Heights:
        whole_range = self.network.cascade is not None and not self.from_prior
        if self.from_prior and stack.prior is None and stack.sources:
            stack = with_prior(stack)
        found = match_in_windows(stack, self._match, self.options.window, self.options.overlap)
        return replace(found, notes=tuple(domain_notes(self.domain, stack, whole_range)))

    def _match(self, stack: ViewStack) -> Heights:
        if not np.isfinite(stack.image).any() or not stack.sources:
            nothing = np.full((len(CLASS_NAMES), *stack.image.shape), np.nan, np.float32)
            return replace(Heights.none(stack.image.shape), classes=nothing)
        tensors = stack_tensors([stack], self.network.options.cascade.min_interval)
        with torch.inference_mode():
            maps = self.network(tensors.to(self.device))
            p = torch.softmax(maps.logits.float(), 1)[0].cpu().numpy()
        if maps.stages:
            last = maps.stages[-1]
            found = heights_of(stack, tensors, last.z.cpu(), last.sigma.cpu(), last.confidence.cpu())
        else:
            found = sgm.match(stack, SgmOptions())
        return replace(found, classes=self._all_classes(p, stack.image))

    def _all_classes(self, p_chw: F32, image: F32) -> F32:
        """Probabilities in the order of CLASS_NAMES, 0 of those the network does not know, NaN without data."""
        h, w = image.shape
        out = np.zeros((len(CLASS_NAMES), h, w), np.float32)
        for p, name in zip(p_chw, self.network.options.classes, strict=True):
            out[CLASS_NAMES.index(name)] = p[:h, :w]
        out[:, ~np.isfinite(image)] = np.nan
        return out
