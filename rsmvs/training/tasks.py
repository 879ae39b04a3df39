"""What is trained: a network with its batches, its loss and its scores. The loop knows nothing else of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import nn

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.network_options import CascadeOptions
from rsmvs.networks.cascade import Cascade, StackTensors, StageHeights
from rsmvs.networks.learned import with_prior
from rsmvs.networks.matcher import ViewStack
from rsmvs.networks.tensors import stack_of, stack_tensors, truth_of
from rsmvs.training.losses import cascade_loss, within_reach
from rsmvs.types import Sample


class Task(Protocol):
    """network: the module. half_on_cpu: whether bf16 speeds it up on a processor that has it. collate: runs in the workers.
    loss: through `forward`, the network or its DDP wrapper."""

    network: nn.Module
    half_on_cpu: bool

    def collate(self, samples: Sequence[Sample]) -> Any: ...

    def loss(self, forward: Callable[..., Any], batch: Any) -> torch.Tensor: ...

    def scores(self, batch: Any) -> dict[str, tuple[float, float]]:
        """Name to (sum, count) over a batch of the evaluation set."""

    def domain(self, samples: Sequence[Any]) -> dict[str, tuple[float, float]]:
        """Name to (lowest, highest) of what cards say of the scenes learned from: `gsd`, `height_span` (m); in the workers."""

    def architecture(self) -> dict[str, Any]:
        """What rebuilds the network: stands in checkpoints and cards."""


def start_from(network: nn.Module, initial: Mapping[str, torch.Tensor] | None) -> None:
    """Give a network the weights of another one where name and shape fit; the rest keeps its own start.

    ConfigError when nothing fits. None: all keep their own start.
    """
    if initial is None:
        return
    own = network.state_dict()
    fitting = {k: v for k, v in initial.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise ConfigError("initial", "weights and network have no tensor in common", "give weights of the same kind of network")
    network.load_state_dict({**own, **fitting})
    taken, whole = (sum(v.numel() for v in part.values()) for part in (fitting, own))
    print(f"starts from given weights: {taken / whole:.1%} of the network, {len(fitting)} of {len(own)} tensors", flush=True)


def extent(samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """Lowest and highest GSD and height of the search range (m) of samples."""
    values = {"gsd": [s.gsd for s in samples], "height_span": [s.height_range[1] - s.height_range[0] for s in samples]}
    return {name: (float(min(v)), float(max(v))) for name, v in values.items()}


def rdm_stacks(samples: Sequence[Sample], options: CascadeOptions) -> list[ViewStack]:
    """The samples' stacks with the relative depth that the network fuses, which must be there, or without any."""
    if not options.rdm and not options.rdm_guide:
        return [replace(stack_of(s), rdm=None) for s in samples]
    for sample in samples:
        if sample.rdm is None:
            cause = f"is missing in {sample.id}, but the network fuses it"
            raise ConfigError("relative depth", cause, "give samples that bring it, or data.rdm: oracle")
    return [stack_of(s) for s in samples]


class CascadeTask:
    """Heights by a cascade."""

    def __init__(
        self, options: CascadeOptions, loss_weights: Sequence[float], initial: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        """initial: weights to start from; what they lack (a module that is added) keeps its own start."""
        self.options, self.loss_weights = options, tuple(loss_weights)
        self.network = Cascade(options)
        self.half_on_cpu = options.regularizer != "red"  # whose many small steps it slows down
        start_from(self.network, initial)

    def collate(self, samples: Sequence[Sample]) -> tuple[StackTensors, torch.Tensor]:
        stacks = rdm_stacks(samples, self.options)
        if self.options.prior == "sgm":
            stacks = [s if s.prior is not None else with_prior(s) for s in stacks]
        stack = stack_tensors(stacks, self.options.min_interval)
        h, w = stack.images[0].shape[-2:]
        return stack, truth_of(samples, (h, w))

    def domain(self, samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
        return extent(samples)

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
