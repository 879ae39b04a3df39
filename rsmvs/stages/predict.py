"""Heights, and classes, of a set of samples by trained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ConfigError
from rsmvs.io.manifests import write_json
from rsmvs.io.raster import write_raster
from rsmvs.io.weights import Weights, read_weights
from rsmvs.network_options import DataOptions
from rsmvs.networks.matcher import Heights
from rsmvs.networks.tensors import stack_of
from rsmvs.options import LearnedOptions, SgmOptions
from rsmvs.stages.classes import class_bands
from rsmvs.stages.matchers import cascade_card, fuses_rdm, learned_matcher, model_of
from rsmvs.stages.train import completed, stored_samples, training_samples
from rsmvs.types import UNLABELLED, Sample


def predict_samples(
    data: DataOptions, options: LearnedOptions, folder: str | Path, wanted: Mapping[str, Any] | None = None,
    batch_size: int = 1,
) -> Path:  # fmt: skip
    """Height, confidence and, by models that know them, class probabilities of every sample of a dataset as GeoTIFF; in the
    index their errors where the truth is known, and what a user should know. Returns the path of the index.

    wanted: options of an architecture that the weights' card must not contradict (`agreed`). batch_size: samples that go
    through a cascade together.
    """
    weights = agreed(read_weights(options.weights), wanted or {})
    match = learned_matcher(weights, options, SgmOptions())
    samples = training_samples(data)[0] if data.dataset == "simulated" else stored_samples(data, "test")
    rdm = fuses_rdm(weights.card)
    complete = completed(data, prior=False, rdm=rdm and data.rdm_model != "")
    scores: dict[str, dict[str, float]] = {}
    notes: set[str] = set()
    for batch in _batches(samples, batch_size):
        batch = [complete(sample) for sample in batch]
        if rdm and any(sample.rdm is None for sample in batch):
            cause = f"is missing in the samples, but {weights.path} was trained with it"
            raise ConfigError("relative depth", cause, "give samples that bring it, or a model that makes it (--rdm_model)")
        for sample, found in zip(batch, match.all([stack_of(s) for s in batch]), strict=True):
            _write(Path(folder) / f"{sample.id}.tif", found)
            notes |= set(found.notes)
            scores[sample.id] = _scores(sample, found)
    index = Path(folder) / "index.json"
    content = {"weights": weights.card["sha256"], "model": model_of(weights), "notes": sorted(notes), "samples": scores}
    write_json(index, {**content, "mean": _mean(scores)})
    return index


def agreed(weights: Weights, wanted: Mapping[str, Any]) -> Weights:
    """The weights, if what is wanted is what their card says; else ConfigError.

    wanted: `regularizer` (or mvsr3d, mvsam), and options of CascadeOptions. An interval that the card leaves to the GSD of
    each reference may be chosen.
    """
    known, model = cascade_card(weights.card), model_of(weights)
    card = weights.card
    for name, value in wanted.items():
        was = model if name == "regularizer" else known.get(name)
        if name == "min_interval" and was == 0:
            known = {**known, name: float(value)}
            nested = known if card["architecture"]["kind"] == "cascade" else {**card["architecture"], "cascade": known}
            card = {**card, "architecture": nested}
        elif was != value:
            raise ConfigError(name, f"is {value!r}, but {weights.path} was trained with {was!r}", "leave it out")
    return replace(weights, card=card)


def _batches(samples: Any, size: int) -> Iterator[list[Sample]]:
    for first in range(0, len(samples), size):
        yield [samples[i] for i in range(first, min(first + size, len(samples)))]


def _write(path: Path, found: Heights) -> None:
    bands = {"height": found.height, "confidence": found.confidence}
    bands |= class_bands(found.classes) if found.classes is not None else {}
    write_raster(path, list(bands.values()), nodata=float("nan"), names=list(bands))


def _scores(sample: Sample, found: Heights) -> dict[str, float]:
    """MAE (m), shares of the known cells with an error below 1 m and 2.5 m, and with any height; share of wrong classes."""
    scores: dict[str, float] = {}
    error = np.abs(found.height - sample.heights)[np.isfinite(sample.heights)]
    if error.size:
        has = np.isfinite(error)
        scores |= {"mae": float(error[has].mean())} if has.any() else {}
        shares = {"pag_1": error < 1, "pag_2.5": error < 2.5, "completeness": has}
        scores |= {name: float(share.mean()) for name, share in shares.items()}
    if found.classes is not None and sample.classes is not None:
        known = (sample.classes != UNLABELLED) & np.isfinite(found.classes[0])
        if known.any():
            scores["wrong_class"] = float((found.classes.argmax(0) != sample.classes)[known].mean())
    return scores


def _mean(scores: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Of every score over the samples that have it."""
    names = dict.fromkeys(name for one in scores.values() for name in one)
    return {name: float(np.mean([one[name] for one in scores.values() if name in one])) for name in names}
