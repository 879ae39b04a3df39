"""The matcher that a configuration names, ready to match."""

from __future__ import annotations

from collections.abc import Callable

from rsmvs.errors import ConfigError
from rsmvs.networks.matcher import Heights, ViewStack
from rsmvs.options import HeightsOptions

Match = Callable[[ViewStack], Heights]


def matcher_of(options: HeightsOptions) -> Match:
    """`sgm`, or a learned model with its weights read; ConfigError when they are for another model or do not fit."""
    if options.model == "sgm":
        from rsmvs.networks import sgm

        return lambda stack: sgm.match(stack, options.sgm)
    from rsmvs.io.weights import read_weights  # torch costs a second: only learned models pay for it
    from rsmvs.networks.learned import LearnedMatcher, cascade_of

    weights = read_weights(options.learned.weights or f"{options.model}-small")
    if options.model == "mvsr3d":
        from rsmvs.networks.semantic_matcher import SemanticMatcher, mvsr3d_of

        joint = mvsr3d_of(weights.tensors, weights.card, weights.path)
        _check_rdm(options, joint.options.heights and joint.options.cascade.rdm, weights.path)
        return SemanticMatcher(joint, weights.card, options.learned)
    network = cascade_of(weights.tensors, weights.card, weights.path)
    if network.options.regularizer != options.model:
        cause = f"is '{options.model}', but {weights.path} holds '{network.options.regularizer}'"
        raise ConfigError("heights.model", cause, "name the model of the weights, or other weights")
    _check_rdm(options, network.options.rdm, weights.path)
    return LearnedMatcher(network, weights.card, options.learned)


def _check_rdm(options: HeightsOptions, known: bool, where: str) -> None:
    if options.rdm and not known:
        raise ConfigError("heights.rdm", f"is on, but {where} was trained without", "switch it off, or other weights")
