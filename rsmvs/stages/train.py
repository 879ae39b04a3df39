"""Training of a cascade from samples to weights, and prediction on a set of samples."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Subset

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.io.manifests import write_json
from rsmvs.io.raster import write_raster
from rsmvs.io.samples import SampleFiles, write_sample
from rsmvs.io.weights import read_weights
from rsmvs.network_options import DataOptions, TrainConfig
from rsmvs.networks.learned import LearnedMatcher, cascade_of, with_prior
from rsmvs.networks.tensors import stack_of
from rsmvs.options import LearnedOptions
from rsmvs.simulate.samples import SampleOptions, SimulatedSamples
from rsmvs.training.datasets import Crops
from rsmvs.training.loop import train
from rsmvs.training.readers import ViewFolders
from rsmvs.training.tasks import CascadeTask

_EVALUATION_SEED = 900_000_000  # simulated scenes of the fixed set: far from every training seed


def train_cascade(config: TrainConfig, folder: str | Path) -> Path:
    """Train, or go on training, in `folder`; returns the path of the weights. The configuration is kept beside them."""
    data = config.data
    if data.rdm == "none" and (config.network.rdm or config.network.rdm_guide):
        raise ConfigError("data.rdm", "is 'none', but the network fuses relative depth", "choose given or oracle")
    samples, fixed = training_samples(data)
    crops = Crops(samples, data, config.training.seed)
    one_each = Crops(fixed, replace(data, crops_per_sample=1), seed=1) if len(fixed) else []
    initial = read_weights(config.initial).tensors if config.initial else None
    make_task = partial(CascadeTask, config.network, config.training.dlossw, initial)
    write_json(Path(folder) / "config.json", as_dict(config))
    return train(make_task, crops, config.training, folder, list(one_each), data_card(data))  # type: ignore[arg-type]


def with_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """As many steps as take every crop `epochs` times in one process."""
    samples = len(training_samples(config.data)[0]) * config.data.crops_per_sample
    steps = -(-samples * epochs // (config.training.batch_size * config.training.accumulate))
    return replace(config, training=replace(config.training, steps=steps))


def training_samples(data: DataOptions) -> tuple[Any, Any]:
    """(samples to learn from, samples of the fixed set). Of stored samples the last ones make the fixed set."""
    if data.dataset != "simulated":
        stored = stored_samples(data)
        if data.evaluation >= len(stored):
            raise ConfigError("data.evaluation", f"takes all {len(stored)} samples", "lower it, or give more samples")
        cut = len(stored) - data.evaluation
        return Subset(stored, range(cut)), Subset(stored, range(cut, len(stored)))
    camera = "satellite" if data.geo_model == "rpc" else "aerial"
    views = data.view_num or 3
    options = SampleOptions(width=data.size, height=data.size, views=views, camera=camera, gsd_min=data.gsd_min,
                            gsd_max=data.gsd_max)
    return SimulatedSamples(data.count, data.first_seed, options), SimulatedSamples(data.evaluation, _EVALUATION_SEED, options)


def stored_samples(data: DataOptions) -> Any:
    """The data set of a folder: the project's own samples, or a published layout."""
    if data.dataset == "samples":
        return SampleFiles(data.dataset_root)
    return ViewFolders(data.dataset_root, data.view_num or 3, data.ref_view)


def write_samples(config: TrainConfig, folder: str | Path) -> int:
    """The simulated samples of a training as files, where they are not there yet; returns how many there are.

    Made once, they are read a hundred times faster than they are made. A network that starts from a prior gets it.
    """
    learned, fixed = training_samples(replace(config.data, dataset="simulated"))
    n = 0
    for group, samples in (("a", learned), ("b", fixed)):  # by name, the fixed set comes last
        for i in range(len(samples)):
            path = Path(folder) / f"{group}{config.data.first_seed + i:08d}.npz"
            if not path.exists():
                sample = samples[i]
                if config.network.prior == "sgm":
                    sample = replace(sample, prior=with_prior(stack_of(sample)).prior)
                write_sample(path, sample)
            n += 1
    return n


def data_card(data: DataOptions) -> dict[str, Any]:
    known = {"gsd": [data.gsd_min, data.gsd_max]} if data.dataset == "simulated" else {}
    return {"data": as_dict(data), "domain": known}


def predict_samples(weights: str, data: DataOptions, options: LearnedOptions, folder: str | Path) -> Path:
    """Height and confidence of every sample of a dataset as GeoTIFF, and their errors where the truth is known."""
    stored = read_weights(weights)
    match = LearnedMatcher(cascade_of(stored.tensors, stored.card, stored.path), stored.card, options)
    samples = training_samples(data)[0] if data.dataset == "simulated" else stored_samples(data)
    scores: dict[str, dict[str, float]] = {}
    for sample in (samples[i] for i in range(len(samples))):
        found = match(stack_of(sample))
        path = Path(folder) / f"{sample.id}.tif"
        write_raster(path, [found.height, found.confidence], nodata=float("nan"), names=["height", "confidence"])
        error = np.abs(found.height - sample.heights)[np.isfinite(sample.heights)]
        if error.size:
            found_share = np.isfinite(error)
            mae = float(error[found_share].mean()) if found_share.any() else -1.0
            scores[sample.id] = {"mae": mae, "pag_1": float((error < 1).mean()), "completeness": float(found_share.mean())}
    index = Path(folder) / "index.json"
    write_json(index, {"weights": stored.card["sha256"], "samples": scores})
    return index
