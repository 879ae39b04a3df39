"""MVSR3D: heights and classes of the reference in one network (Huang et al., TGRS 2025, figure 2).

Two branches that help each other: MVSAM's embeddings enrich the features of the height cascade (SAM-FG), the heights
choose the points that prompt MVSAM's decoder (EGSPG), and MVSAM sees all views along epipolar lines (ECA).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from rsmvs.errors import ConfigError
from rsmvs.networks.cascade import Cascade, StackTensors, StageHeights
from rsmvs.networks.egspg import sparse_prompts
from rsmvs.networks.mvsam import MVSAM
from rsmvs.networks.sam_fg import SamFeatureGuide
from rsmvs.semantic_options import Mvsr3dOptions


@dataclass(frozen=True, eq=False)
class SceneMaps:
    """stages: of the cascade, empty for MVSAM alone. logits: (b, c, h, w) of the classes. first: those without prompts.
    hint: those of the embedding, where the network has them."""

    stages: list[StageHeights]
    logits: torch.Tensor
    first: torch.Tensor
    hint: torch.Tensor | None = None


class MVSR3D(nn.Module):
    """With `options.heights` off: MVSAM alone, the single task of table VII."""

    def __init__(self, options: Mvsr3dOptions) -> None:
        super().__init__()
        _check(options)
        self.options = options
        self.mvsam = MVSAM(options)
        cascade = options.cascade
        self.cascade = Cascade(cascade) if options.heights else None
        guided = options.heights and options.sam_fg
        self.guide = SamFeatureGuide(options.sam.channels, options.sam_fg_width, cascade.feature_channels) if guided else None

    def forward(self, stack: StackTensors, labels_bhw: torch.Tensor | None = None) -> SceneMaps:
        """labels_bhw: true classes (index, -1 unknown) from which the prompts are drawn; None: from a first decoding."""
        embeddings = [self.mvsam.embed(image) for image in stack.images]
        stages = self._heights(stack, embeddings) if self.cascade is not None else []
        if self.options.relief:  # only now, as the cascade compares the embeddings of all views
            z = stages[-1].z.detach() if stages else stack.prior
            embeddings[0] = self.mvsam.embed(stack.images[0], z)
        fused = self.mvsam.fuse(embeddings, stack.fields, stack.z_range)
        h, w = stack.images[0].shape[-2:]
        first = logits = self.mvsam.decode(fused, (h, w))
        if self.options.egspg and stages:
            o, mask = self.options, stack.masks[0]
            z = stages[-1].z.detach()
            labels = first.detach().argmax(1) if labels_bhw is None else labels_bhw
            prompts = sparse_prompts(z, mask, labels, o.classes, o.foreground, o.background, o.seed)
            logits = self.mvsam.decode_prompted(fused, prompts, first)
        return SceneMaps(stages, logits, first, self.mvsam.hinted(fused, (h, w)))

    def _heights(self, stack: StackTensors, embeddings: list[torch.Tensor]) -> list[StageHeights]:
        assert self.cascade is not None
        if self.guide is None:
            return self.cascade(stack)
        feats = [self.cascade.features(image) for image in stack.images]
        return self.cascade.from_features(stack, [self.guide(e, f) for e, f in zip(embeddings, feats, strict=True)])


def _check(options: Mvsr3dOptions) -> None:
    if len(set(options.classes)) != len(options.classes) or len(options.classes) < 2:
        raise ConfigError("network.classes", f"are {list(options.classes)}", "name two or more different classes")
    if options.egspg and not options.heights:
        raise ConfigError("network.egspg", "chooses points by heights, but network.heights is off", "switch one of them")
