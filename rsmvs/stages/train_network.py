"""A training as a job of the workflow: which kind of network a YAML file describes."""

from __future__ import annotations

from pathlib import Path

from rsmvs.errors import ConfigError
from rsmvs.stages.train import read_training, train_cascade
from rsmvs.stages.train_joint import read_joint, train_joint


def train_network(config: str | None, model: str, preset: str, folder: str | Path) -> Path:
    """Train, or go on training, in `folder`; returns the path of the weights.

    config: YAML file. model, preset: as in TrainJobOptions.
    """
    if not config:
        raise ConfigError("train.config", "is not set", "name a YAML file with the sections network, training, data")
    if model == "cascade":
        return train_cascade(read_training(config, preset or "small"), folder)
    return train_joint(read_joint(config, preset or "tiny", model == "mvsam"), folder)
