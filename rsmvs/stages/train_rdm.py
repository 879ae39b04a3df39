"""Training of a small model of relative depth from samples to weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from rsmvs.config import as_dict
from rsmvs.io.weights import read_weights
from rsmvs.network_options import MonocularConfig
from rsmvs.stages.train import training_samples
from rsmvs.training.datasets import Crops
from rsmvs.training.loop import train
from rsmvs.training.monocular import TINY, MonocularTask, Turned


def train_rdm(config: MonocularConfig, folder: str | Path) -> Path:
    """Train, or go on training, in `folder`; returns the path of the weights, which `rdm.model` takes."""
    data = replace(config.data, rdm="none")
    samples, fixed = training_samples(data)
    crops = Turned(Crops(samples, data, config.training.seed))
    one_each = list(Crops(fixed, replace(data, crops_per_sample=1), seed=1)) if len(fixed) else []
    initial = read_weights(config.initial).tensors if config.initial else None
    make_task = partial(MonocularTask, TINY, initial)
    return train(make_task, crops, config.training, folder, one_each, config=as_dict(config))  # type: ignore[arg-type]
