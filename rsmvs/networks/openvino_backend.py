"""A cascade run by OpenVINO: the same module, traced once per shape of its inputs and compiled for the CPU.

Half the CPU time of torch at equal outputs, after some seconds of compiling per shape. The number of views and all sizes
are fixed in a compiled network; they recur within a scene, since windows are padded to multiples.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from rsmvs.networks.cascade import Cascade, StackTensors

_EXAMPLE = 64  # px: side of the traced example, a multiple of what all networks need
_KEPT = 2  # compiled networks: references at the rim of a scene see fewer sources


def available() -> bool:
    return find_spec("openvino") is not None


class _Flat(nn.Module):
    """The cascade with tensors for arguments: views, masks, fields, range, interval[, prior][, rdm]."""

    def __init__(self, network: Cascade, views: int, prior: bool, rdm: bool) -> None:
        super().__init__()
        self.network, self.views, self.prior, self.rdm = network, views, prior, rdm

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        v, rest = self.views, list(inputs)
        images, masks, fields = rest[:v], rest[v : 2 * v], rest[2 * v : 3 * v - 1]
        z_range, interval, *more = rest[3 * v - 1 :]
        prior = more.pop(0) if self.prior else None
        rdm = more.pop(0) if self.rdm else None
        last = self.network(StackTensors(images, masks, fields, z_range, interval, prior, rdm))[-1]
        return last.z, last.sigma, last.confidence


def _flat(stack: StackTensors) -> list[torch.Tensor]:
    more = [x for x in (stack.prior, stack.rdm) if x is not None]
    return [*stack.images, *stack.masks, *stack.fields, stack.z_range, stack.interval, *more]


class OpenVinoBackend:
    def __init__(self, network: Cascade, threads: int = 0) -> None:
        self.network, self.threads = network.eval(), threads
        self.compiled: dict[tuple[Any, ...], Any] = {}

    def __call__(self, stack: StackTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        inputs = _flat(stack)
        key = (stack.prior is None, *(tuple(x.shape) for x in inputs))
        if key not in self.compiled:
            if len(self.compiled) >= _KEPT:
                self.compiled.pop(next(iter(self.compiled)))
            self.compiled[key] = self._compile(stack, inputs)
        out = self.compiled[key]([x.numpy() for x in inputs])
        z, sigma, confidence = (torch.from_numpy(out[i].copy()) for i in range(3))
        return z, sigma, confidence

    def _compile(self, stack: StackTensors, inputs: list[torch.Tensor]) -> Any:
        """Traced on a small example, where all planes are one group, for the sizes of `inputs`: the trace holds no size."""
        import openvino

        flat = _Flat(self.network, len(stack.images), stack.prior is not None, stack.rdm is not None)
        example = tuple(x[..., :_EXAMPLE, :_EXAMPLE] if x.dim() > 2 else x for x in inputs)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # about numbers that are the same for all sizes
            traced = torch.jit.trace(flat, example, check_trace=False)
            model = openvino.convert_model(traced, example_input=example, input=[tuple(x.shape) for x in inputs])
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        return openvino.Core().compile_model(model, "CPU", settings)
