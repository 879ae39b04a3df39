"""The matcher that a configuration or a card of weights names, ready to match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rsmvs.errors import ConfigError, ManifestError
from rsmvs.networks.matcher import Heights, ViewStack
from rsmvs.options import HeightsOptions, LearnedOptions, SgmOptions

if TYPE_CHECKING:
    from rsmvs.io.weights import Weights
    from rsmvs.networks.learned import LearnedMatcher
    from rsmvs.networks.semantic_matcher import SemanticMatcher

Match = Callable[[ViewStack], Heights]


def matcher_of(options: HeightsOptions) -> Match:
    """`sgm`, or a learned model with its weights read; ConfigError when they are for another model or do not fit."""
    if options.model == "sgm":
        from rsmvs.networks import sgm

        return lambda stack: sgm.match(stack, options.sgm)
    from rsmvs.io.weights import read_weights  # torch costs a second: only learned models pay for it

    weights = read_weights(options.weights)
    known = model_of(weights)
    if options.model not in (known, "mvsr3d" if known == "mvsam" else known):
        cause = f"is '{options.model}', but {weights.path} holds '{known}'"
        raise ConfigError("heights.model", cause, "name the model of the weights, or other weights")
    if options.rdm != fuses_rdm(weights.card):
        cause = "with" if fuses_rdm(weights.card) else "without"
        was = f"is {'on' if options.rdm else 'off'}, but {weights.path} was trained {cause} relative depth"
        raise ConfigError("heights.rdm", was, f"switch it {'off' if options.rdm else 'on'}, or other weights")
    return learned_matcher(weights, options.learned, options.sgm)


def learned_matcher(weights: Weights, options: LearnedOptions, sgm: SgmOptions) -> LearnedMatcher | SemanticMatcher:
    """The matcher that the card describes. sgm: of the heights that it may start from."""
    from rsmvs.networks.learned import LearnedMatcher, cascade_of
    from rsmvs.networks.memory import keep_freed_memory
    from rsmvs.networks.semantic_matcher import SemanticMatcher, mvsr3d_of

    keep_freed_memory()
    if model_of(weights) in ("mvsr3d", "mvsam"):
        return SemanticMatcher(mvsr3d_of(weights.tensors, weights.card, weights.path), weights.card, options, sgm)
    return LearnedMatcher(cascade_of(weights.tensors, weights.card, weights.path), weights.card, options, sgm)


def model_of(weights: Weights) -> str:
    """red, casmvs, ucs, mvsr3d, or mvsam: what the weights hold, by their card."""
    architecture = weights.card["architecture"]
    if architecture.get("kind") == "cascade":
        return str(architecture.get("regularizer"))
    if architecture.get("kind") == "mvsr3d":
        return "mvsr3d" if architecture.get("heights", True) else "mvsam"
    raise ManifestError(weights.path, f"is no matcher but '{architecture.get('kind')}'", "give weights of a matcher")


def cascade_card(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The architecture of the height branch in a card; empty where there is none."""
    architecture = card["architecture"]
    if architecture.get("kind") == "cascade":
        return architecture  # type: ignore[no-any-return]
    return architecture.get("cascade", {}) if architecture.get("heights", True) else {}


def fuses_rdm(card: Mapping[str, Any]) -> bool:
    """Whether the network takes relative depth, as features or as a guide."""
    cascade = cascade_card(card)
    return bool(cascade.get("rdm") or cascade.get("rdm_guide"))
