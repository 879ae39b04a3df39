"""A trained cascade as a matcher: view stack in, heights out, by torch or OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from rsmvs.config import build
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.geometry.warp_torch import lookup_field, sample_planes
from rsmvs.network_options import CascadeOptions
from rsmvs.networks import sgm
from rsmvs.networks.cascade import Cascade, StackTensors
from rsmvs.networks.device import best_device
from rsmvs.networks.matcher import Heights, ViewStack
from rsmvs.networks.tensors import mid_height, stack_tensors
from rsmvs.networks.windows import match_in_windows
from rsmvs.options import LearnedOptions, SgmOptions

N = TypeVar("N", bound=torch.nn.Module)
_GSD_MARGIN = 1.5  # factor around the trained GSDs within which a scene counts as known; of the heights' span, too


class Backend(Protocol):
    """Runs a cascade: (z, sigma, confidence), each (b, 1, h, w)."""

    def __call__(self, stack: StackTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...


class TorchBackend:
    """The network itself, on a GPU where there is one. half: its convolutions in bf16."""

    def __init__(self, network: Cascade, half: bool = False) -> None:
        self.half = half
        self.device = best_device()
        self.network = network.to(self.device).eval()

    def __call__(self, stack: StackTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            last = self.network(stack.to(self.device))[-1]
        return last.z.float().cpu(), last.sigma.float().cpu(), last.confidence.float().cpu()


def restored(
    make: Callable[[Any], N], options: type, name: str, tensors: Mapping[str, torch.Tensor], card: Mapping[str, Any],
    where: object,
) -> N:
    """The network that a card describes, with its weights; `name` is what to call it, in lower case the card's kind.
    `where` names the weights in errors."""
    values = dict(card["architecture"])
    if values.pop("kind", None) != name.lower():
        raise ManifestError(where, f"is no {name}", f"give weights of a {name}")
    network = make(build(options, values, where, "architecture"))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ManifestError(where, f"does not fit its card ({str(error).splitlines()[0]})", "restore both files") from None
    return network.eval()


def cascade_of(tensors: Mapping[str, torch.Tensor], card: Mapping[str, Any], where: object) -> Cascade:
    """`restored` for the models red, casmvs and ucs."""
    return restored(Cascade, CascadeOptions, "cascade", tensors, card, where)


class LearnedMatcher:
    """match(stack) -> Heights with one set of weights. sgm: of the heights that it may start from."""

    def __init__(
        self, network: Cascade, card: Mapping[str, Any], options: LearnedOptions, sgm: SgmOptions | None = None
    ) -> None:
        if options.heights_from == "prior":
            cause = f"is 'prior', but '{network.options.regularizer}' gives heights of its own"
            raise ConfigError("heights.learned.heights_from", cause, "choose network or card, or heights.model: sgm")
        self.network, self.domain, self.options, self.sgm = network, card.get("domain", {}), options, sgm or SgmOptions()
        if options.threads:
            torch.set_num_threads(options.threads)
        self.backend = choose_backend(network, options)

    def __call__(self, stack: ViewStack) -> Heights:
        """Heights of a whole reference window, in windows no larger than the options allow."""
        return self.all([stack])[0]

    def all(self, stacks: Sequence[ViewStack]) -> list[Heights]:
        """Heights of several references. Those that fit a window and have equally many sources go through together."""
        if self.network.options.prior == "sgm":
            stacks = [s if s.prior is not None else with_prior(s, self.sgm) for s in stacks]
        if len(stacks) > 1 and self._alike(stacks):
            found = self._match(stacks)
        else:
            o = self.options
            found = [match_in_windows(s, lambda part: self._match([part])[0], o.window, o.overlap) for s in stacks]
        return [replace(f, notes=tuple(self.warnings(s))) for f, s in zip(found, stacks, strict=True)]

    def _alike(self, stacks: Sequence[ViewStack]) -> bool:
        small = all(max(s.image.shape) <= self.options.window and np.isfinite(s.image).any() for s in stacks)
        return small and len({(len(s.sources), s.prior is None, s.rdm is None) for s in stacks}) == 1

    def _match(self, stacks: Sequence[ViewStack]) -> list[Heights]:
        if not np.isfinite(stacks[0].image).any() or not stacks[0].sources:
            return [Heights.none(s.image.shape) for s in stacks]
        tensors = stack_tensors(stacks, self.network.options.min_interval)
        return heights_of(stacks, tensors, *self.backend(tensors))

    def warnings(self, stack: ViewStack) -> list[str]:
        o = self.network.options
        return domain_notes(self.domain, stack, o.prior == "none") + rdm_notes(o, stack)


def rdm_notes(options: CascadeOptions, stack: ViewStack) -> list[str]:
    """Whether a network that fuses relative depth has to do without."""
    lacks = (options.rdm or options.rdm_guide) and stack.rdm is None
    return ["the network was trained with relative depth, the reference has none"] if lacks else []


def domain_notes(domain: Mapping[str, Any], stack: ViewStack, whole_range: bool) -> list[str]:
    """Where the scene lies outside what the network was trained for. whole_range: it searches without a prior."""
    notes = gsd_notes(domain, stack.gsd)
    span, known = stack.height_range[1] - stack.height_range[0], domain.get("height_span", (0.0, np.inf))[1]
    if whole_range and span > known * _GSD_MARGIN:
        notes.append(f"the network was trained for height ranges up to {known:.3g} m, the scene has {span:.0f} m")
    return notes


def gsd_notes(domain: Mapping[str, Any], gsd: float, network: str = "the network") -> list[str]:
    """Whether the GSD (m) of a reference lies outside what the network, so called, was trained for."""
    low, high = domain.get("gsd", (0.0, np.inf))
    if low / _GSD_MARGIN <= gsd <= high * _GSD_MARGIN:
        return []
    return [f"{network} was trained for GSDs of {low:.3g} to {high:.3g} m, the reference has {gsd:.2f} m"]


def heights_of(
    stacks: Sequence[ViewStack], tensors: StackTensors, z: torch.Tensor, sigma: torch.Tensor, confidence: torch.Tensor
) -> list[Heights]:
    """What a network gave, (b, 1, h, w) each, on the pixels of the references; nothing where no source sees data."""
    seen = seen_by_a_source(tensors, z) & (tensors.masks[0] > 0)
    nothing, found = np.float32(np.nan), []
    for i, stack in enumerate(stacks):
        h, w = stack.image.shape
        valid, height, deviation, sure = (x[i, 0, :h, :w].numpy() for x in (seen, z, sigma, confidence))
        height = np.where(valid, height + np.float32(mid_height(stack)), nothing)
        found.append(Heights(height, sure * valid, np.where(valid, deviation, nothing)))
    return found


def with_prior(stack: ViewStack, options: SgmOptions | None = None) -> ViewStack:
    """The stack with the heights of semi-global matching to start from."""
    return replace(stack, prior=sgm.match(stack, options or SgmOptions()).height)


def seen_by_a_source(stack: StackTensors, z_b1hw: torch.Tensor) -> torch.Tensor:
    """(b, 1, h, w) bool: at its height the pixel falls on data of at least one source."""
    seen = torch.zeros_like(z_b1hw, dtype=torch.bool)
    for field, mask in zip(stack.fields, stack.masks[1:], strict=True):
        seen |= sample_planes(mask, lookup_field(field, 1), z_b1hw)[:, :, 0] > 0.5
    return seen


def choose_backend(network: Cascade, options: LearnedOptions) -> Backend:
    """'auto': a GPU, else OpenVINO where it is installed, else torch."""
    from rsmvs.networks import openvino_backend

    half = options.precision == "bf16"
    usable = openvino_backend.available()
    if options.backend == "openvino" and half:
        cause = "is 'bf16', in which OpenVINO would compute the pixel coordinates too"
        raise ConfigError("precision", cause, "choose fp32, or the backend torch")
    if options.backend == "openvino" and not usable:
        raise ConfigError("backend", "OpenVINO is not installed", "pip install 'rsmvs[openvino]', or choose torch")
    if options.backend == "torch" or half or not usable or (options.backend == "auto" and torch.cuda.is_available()):
        return TorchBackend(network, half)
    recurrent = network.options.regularizer == "red"
    return (openvino_backend.RecurrentBackend if recurrent else openvino_backend.OpenVinoBackend)(network, options.threads)


Match = Callable[[ViewStack], Heights]
