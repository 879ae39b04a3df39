"""A cascade run by OpenVINO: the same module, traced once per shape of its inputs and compiled for the CPU.

Half the CPU time of torch at equal outputs, after some seconds of compiling per shape. The number of views and all sizes
are fixed in a compiled network; they recur within a scene, since windows are padded to multiples.

The recurrent regulariser would be unrolled over all its planes: of such a network the features and one plane of each stage
are compiled, and the loop over the planes stays here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from rsmvs.networks.cascade import Cascade, StackTensors, StageHeights
from rsmvs.networks.cost_volume import PlaneSweep, SourceMaps
from rsmvs.networks.regularizers import HeightPlanes, ReadOut, RecurrentED, StreamedReadOut

_EXAMPLE = 64  # px: side of the traced example, a multiple of what all networks need
_KEPT = 2  # compiled sizes: references at the rim of a scene see fewer sources


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
        self.network, self.compiled = network.eval(), _Compiler(threads)

    def __call__(self, stack: StackTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Traced on a small example, where all planes are one group, for the sizes of the stack: the trace holds no size."""
        inputs, given = _flat(stack), (len(stack.images), stack.prior is not None, stack.rdm is not None)
        example = [x[..., :_EXAMPLE, :_EXAMPLE] if x.dim() > 2 else x for x in inputs]
        z, sigma, confidence = self.compiled(str(given), lambda: _Flat(self.network, *given), inputs, example)
        return z, sigma, confidence


class RecurrentBackend:
    """The same for the recurrent regulariser."""

    def __init__(self, network: Cascade, threads: int = 0) -> None:
        self.network = _ByPlanes(network, _Compiler(threads)).eval()

    def __call__(self, stack: StackTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            last = self.network(stack)[-1]
        return last.z, last.sigma, last.confidence


class _ByPlanes(Cascade):
    """A cascade with compiled features and planes."""

    def __init__(self, network: Cascade, compiled: _Compiler) -> None:
        super().__init__(network.options)
        self.load_state_dict(network.state_dict())
        self.compiled = compiled

    def forward(self, stack: StackTensors) -> list[StageHeights]:
        feats = [self.compiled("features", lambda: self.features, [image], free=(0,)) for image in stack.images]
        return self.from_features(stack, feats)

    def read(self, i: int, sweep: PlaneSweep, planes: HeightPlanes, cells: int) -> ReadOut:
        regularizer = self.regularizers[i]
        assert isinstance(regularizer, RecurrentED)
        fixed = [sweep.feats, sweep.image]
        for source in sweep.sources:
            fixed += [source.maps, source.field, *([] if source.weight is None else [source.weight])]
        maps = tuple(range(4, 2 + len(fixed), (len(fixed) - 2) // len(sweep.sources)))
        b, _, h, w = sweep.image.shape
        far, zero = sweep.image.new_full((b, 1, h, w), -1e9), sweep.image.new_zeros(b, 1, h, w)
        state = [far, zero, zero, zero]
        state += [zero.new_zeros(b, c, h >> level, w >> level) for level, c in enumerate(regularizer.widths)]
        for k in range(planes.n):
            z = planes.some(k, k + 1).expand(b, 1, h, w).contiguous()
            inputs = [z, torch.tensor([float(k)]), *fixed, *state]
            state = self.compiled(f"plane {i}", lambda: _Plane(regularizer, sweep, planes.n), inputs, free=maps)
        out = StreamedReadOut(planes.n)
        out.sums = tuple(state[:4])
        return out.result()


class _Plane(nn.Module):
    """One plane of a recurrent stage: (sums of the read-out, states) before and after."""

    def __init__(self, regularizer: RecurrentED, sweep: PlaneSweep, n: int) -> None:
        super().__init__()
        self.regularizer, self.n, self.zncc_window, self.views = regularizer, n, sweep.zncc_window, len(sweep.sources)
        self.weighted = sweep.sources[0].weight is not None

    def forward(self, z: torch.Tensor, k: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        each = 3 if self.weighted else 2
        feats, image, *rest = tensors
        sources = [SourceMaps(*rest[v * each : (v + 1) * each]) for v in range(self.views)]
        sums, states = rest[self.views * each :][:4], rest[self.views * each + 4 :]
        cost = PlaneSweep(feats, image, sources, self.zncc_window).cost(z).squeeze(2)
        logit, *states = self.regularizer.step(cost, *states)
        out = StreamedReadOut(self.n)
        out.k, out.sums = k, tuple(sums)  # type: ignore[assignment]
        out.feed(logit)
        return (*out.sums, *states)


class _Compiler:
    """Modules compiled for the sizes of their inputs, the last few of each name."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.kept: dict[str, dict[tuple[Any, ...], Any]] = {}

    def __call__(
        self, name: str, make: Callable[[], nn.Module], inputs: list[torch.Tensor],
        example: list[torch.Tensor] | None = None, free: tuple[int, ...] = (),
    ) -> list[torch.Tensor]:
        """Outputs of the module. example: smaller inputs to trace it with. free: inputs of any number of rows and columns."""
        kept = self.kept.setdefault(name, {})
        key = tuple((*x.shape[:2], -1, -1) if i in free else tuple(x.shape) for i, x in enumerate(inputs))
        if key not in kept:
            if len(kept) >= _KEPT:
                kept.pop(next(iter(kept)))
            kept[key] = self.compile(make(), key, tuple(example or inputs))
        out = kept[key]([x.numpy() for x in inputs])
        return [torch.from_numpy(out[i].copy()) for i in range(len(out))]

    def compile(self, module: nn.Module, shapes: tuple[tuple[int, ...], ...], example: tuple[torch.Tensor, ...]) -> Any:
        import openvino

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # about numbers that are the same for all sizes
            traced = torch.jit.trace(module.eval(), example, check_trace=False)
            model = openvino.convert_model(traced, example_input=example, input=list(shapes))
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        return openvino.Core().compile_model(model, "CPU", settings)
