"""Training of the refinement on the ground grid from samples to weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError, ManifestError
from rsmvs.io.weights import read_weights
from rsmvs.network_options import GroundDataOptions, GroundTrainConfig
from rsmvs.stages.train import steps_of
from rsmvs.training.ground import GroundCrops, GroundTask
from rsmvs.training.loop import train


def train_ground(config: GroundTrainConfig, folder: str | Path) -> Path:
    """Train, or go on training, in `folder`; returns the path of the weights. The configuration is kept beside them."""
    data = config.data
    learned, fixed = _paths(data)
    crops: Any = GroundCrops(learned, data.crop, data.crops_per_sample, config.training.seed)
    evaluation = list(GroundCrops(fixed, 1 << 20, 1, 1)) if fixed else []
    initial = read_weights(config.initial).tensors if config.initial else None
    card = {"domain": {"gsd": [data.gsd_min, data.gsd_max]}}
    make_task = partial(GroundTask, config.network, initial)
    return train(make_task, crops, config.training, folder, evaluation, card, as_dict(config))


def with_ground_epochs(config: GroundTrainConfig, epochs: int) -> GroundTrainConfig:
    """The training of so many passes over its crops."""
    crops = len(_paths(config.data)[0]) * config.data.crops_per_sample
    return replace(config, training=steps_of(epochs, crops, config.training))


def _paths(data: GroundDataOptions) -> tuple[list[Path], list[Path]]:
    paths = sorted(Path(data.dataset_root).glob("*.npz"))
    if not paths:
        raise ManifestError(data.dataset_root, "holds no samples (*.npz)", "write them with --mode samples")
    if data.evaluation >= len(paths):
        raise ConfigError("data.evaluation", f"takes all {len(paths)} samples", "lower it, or give more samples")
    cut = len(paths) - data.evaluation
    return paths[:cut], paths[cut:]
