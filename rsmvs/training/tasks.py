"""What is trained: a network with its batches, its loss and its scores. The loop knows nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import nn

from rsmvs.config import as_dict
from rsmvs.network_options import CascadeOptions
from rsmvs.networks.cascade import Cascade, StackTensors, StageHeights
from rsmvs.networks.learned import with_prior
from rsmvs.networks.tensors import stack_of, stack_tensors, truth_of
from rsmvs.training.losses import cascade_loss, within_reach
from rsmvs.types import Sample


class Task(Protocol):
    """network: the module. collate: runs in the workers. loss: through `forward`, the network or its DDP wrapper."""

    network: nn.Module

    def collate(self, samples: Sequence[Sample]) -> Any: ...

    def loss(self, forward: Callable[..., Any], batch: Any) -> torch.Tensor: ...

    def scores(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Name to (sum, count) over a batch of the evaluation set."""

    def architecture(self) -> dict[str, Any]:
        """What rebuilds the network: stands in checkpoints and cards."""


class CascadeTask:
    """Heights by a cascade."""

    def __init__(
        self, options: CascadeOptions, loss_weights: Sequence[float], initial: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        """initial: weights to start from; what they lack (a module that is added) keeps its own start."""
        self.options, self.loss_weights = options, tuple(loss_weights)
        self.network = Cascade(options)
        own = self.network.state_dict()
        fitting = {k: v for k, v in (initial or {}).items() if k in own and own[k].shape == v.shape}
        self.network.load_state_dict(own | fitting)

    def collate(self, samples: Sequence[Sample]) -> tuple[StackTensors, torch.Tensor]:
        stacks = [stack_of(s) for s in samples]
        if self.options.prior == "sgm":
            stacks = [s if s.prior is not None else with_prior(s) for s in stacks]
        if not self.options.rdm and not self.options.rdm_guide:
            stacks = [replace(s, rdm=None) for s in stacks]
        stack = stack_tensors(stacks, self.options.min_interval)
        h, w = stack.images[0].shape[-2:]
        return stack, truth_of(samples, (h, w))

    def loss(self, forward: Callable[..., list[StageHeights]], batch: Any) -> torch.Tensor:
        stack, truth = batch
        stages = forward(stack)
        if stack.prior is not None:
            truth = within_reach(truth, stages[0])
        return cascade_loss(stages, truth, self.loss_weights)

    def scores(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Mean error cut at 10 m, MAE (m), shares of all known cells with an error below 1 m and 2.5 m; of the prior too."""
        stack, truth = batch
        scores = _scores(self.network(stack)[-1].z, truth, "")
        return scores if stack.prior is None else scores | _scores(stack.prior, truth, "prior_")

    def architecture(self) -> dict[str, Any]:
        return {"kind": "cascade", **as_dict(self.options)}


def _scores(z_b1hw: torch.Tensor, truth_b1hw: torch.Tensor, prefix: str) -> dict[str, tuple[float, float]]:
    known = torch.isfinite(truth_b1hw)
    error = torch.nan_to_num((z_b1hw - truth_b1hw).abs()[known], nan=torch.inf)  # no height counts as wrong
    found = error[torch.isfinite(error)]
    values = {"mae_10": error.clamp(max=10), "mae": found, "pag_1": error < 1, "pag_2.5": error < 2.5}
    return {prefix + name: (float(v.double().sum()), float(v.numel())) for name, v in values.items()}
