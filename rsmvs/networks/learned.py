"""A trained cascade as a matcher: view stack in, heights out, by torch or OpenVINO."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from rsmvs.networks.matcher import Heights, ViewStack
from rsmvs.networks.tensors import mid_height, stack_tensors
from rsmvs.networks.windows import match_in_windows
from rsmvs.options import LearnedOptions, SgmOptions

N = TypeVar("N", bound=torch.nn.Module)
_GSD_MARGIN = 1.5  # factor around the trained GSDs within which a scene counts as known


class Backend(Protocol):
    """Runs a cascade: (z, sigma, confidence), each (b, 1, h, w)."""

    def __call__(self, stack: StackTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...


class TorchBackend:
    """The network itself, on a GPU where there is one."""

    def __init__(self, network: Cascade) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device).eval()

    def __call__(self, stack: StackTensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with torch.inference_mode():
            last = self.network(stack.to(self.device))[-1]
        return last.z.cpu(), last.sigma.cpu(), last.confidence.cpu()


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
    """match(stack) -> Heights with one set of weights."""

    def __init__(self, network: Cascade, card: Mapping[str, Any], options: LearnedOptions) -> None:
        self.network, self.domain, self.options = network, card.get("domain", {}), options
        if options.threads:
            torch.set_num_threads(options.threads)
        self.backend = choose_backend(network, options)

    def __call__(self, stack: ViewStack) -> Heights:
        """Heights of a whole reference window, in windows no larger than the options allow."""
        if self.network.options.prior == "sgm" and stack.prior is None:
            stack = with_prior(stack)
        found = match_in_windows(stack, self._match, self.options.window, self.options.overlap)
        return replace(found, notes=tuple(self.warnings(stack)))

    def _match(self, stack: ViewStack) -> Heights:
        if not np.isfinite(stack.image).any() or not stack.sources:
            return Heights.none(stack.image.shape)
        tensors = stack_tensors([stack], self.network.options.min_interval)
        return heights_of(stack, tensors, *self.backend(tensors))

    def warnings(self, stack: ViewStack) -> list[str]:
        return domain_notes(self.domain, stack, self.network.options.prior == "none")


def domain_notes(domain: Mapping[str, Any], stack: ViewStack, whole_range: bool) -> list[str]:
    """Where the scene lies outside what the network was trained for. whole_range: it searches without a prior."""
    notes = []
    low, high = domain.get("gsd", (0.0, np.inf))
    if not low / _GSD_MARGIN <= stack.gsd <= high * _GSD_MARGIN:
        notes.append(f"the network was trained for GSDs of {low:g} to {high:g} m, the reference has {stack.gsd:.2f} m")
    span, known = stack.height_range[1] - stack.height_range[0], domain.get("height_span", (0.0, np.inf))[1]
    if whole_range and span > known * _GSD_MARGIN:
        notes.append(f"the network was trained for height ranges up to {known:g} m, the scene has {span:.0f} m")
    return notes


def heights_of(
    stack: ViewStack, tensors: StackTensors, z: torch.Tensor, sigma: torch.Tensor, confidence: torch.Tensor
) -> Heights:
    """What a network gave, (1, 1, h, w) each, on the pixels of the reference; nothing where no source sees data."""
    seen = seen_by_a_source(tensors, z) & (tensors.masks[0] > 0)
    h, w = stack.image.shape
    valid = seen[0, 0, :h, :w].numpy()
    height = z[0, 0, :h, :w].numpy() + np.float32(mid_height(stack))
    nothing = np.float32(np.nan)
    deviation = np.where(valid, sigma[0, 0, :h, :w].numpy(), nothing)
    return Heights(np.where(valid, height, nothing), confidence[0, 0, :h, :w].numpy() * valid, deviation)


def with_prior(stack: ViewStack) -> ViewStack:
    """The stack with the heights of semi-global matching to start from."""
    prior = sgm.match(stack, SgmOptions()).height
    return ViewStack(stack.image, stack.sources, stack.height_range, stack.gsd, prior, stack.rdm)


def seen_by_a_source(stack: StackTensors, z_b1hw: torch.Tensor) -> torch.Tensor:
    """(b, 1, h, w) bool: at its height the pixel falls on data of at least one source."""
    seen = torch.zeros_like(z_b1hw, dtype=torch.bool)
    for field, mask in zip(stack.fields, stack.masks[1:], strict=True):
        seen |= sample_planes(mask, lookup_field(field, 1), z_b1hw)[:, :, 0] > 0.5
    return seen


def choose_backend(network: Cascade, options: LearnedOptions) -> Backend:
    """'auto': a GPU, else OpenVINO where it is installed, else torch. The recurrent regulariser runs in torch."""
    from rsmvs.networks import openvino_backend

    if options.backend == "torch" or (options.backend == "auto" and torch.cuda.is_available()):
        return TorchBackend(network)
    usable = openvino_backend.available()
    if options.backend == "openvino" and not usable:
        raise ConfigError("backend", "OpenVINO is not installed", "pip install 'rsmvs[openvino]', or choose torch")
    if usable and (options.backend == "openvino" or network.options.regularizer != "red"):
        return openvino_backend.OpenVinoBackend(network, options.threads)
    return TorchBackend(network)


Match = Callable[[ViewStack], Heights]
