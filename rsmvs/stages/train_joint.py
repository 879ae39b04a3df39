"""Training of MVSR3D and MVSAM from samples to weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.io.manifests import write_json
from rsmvs.io.sam_weights import read_sam
from rsmvs.io.weights import read_weights
from rsmvs.semantic_options import JointConfig
from rsmvs.stages.train import data_card, training_samples
from rsmvs.training.datasets import Crops
from rsmvs.training.joint import JointTask
from rsmvs.training.loop import train


def train_joint(config: JointConfig, folder: str | Path) -> Path:
    """Train, or go on training, in `folder`; returns the path of the weights. The configuration is kept beside them."""
    cascade = config.network.cascade
    if config.data.rdm == "none" and (cascade.rdm or cascade.rdm_guide):
        raise ConfigError("data.rdm", "is 'none', but the network fuses relative depth", "choose given or oracle")
    samples, fixed = training_samples(config.data)
    crops: Any = Crops(samples, config.data, config.training.seed)
    one_each = Crops(fixed, replace(config.data, crops_per_sample=1), seed=1) if len(fixed) else []
    sam = read_sam(config.sam) if config.sam else None
    initial = read_weights(config.initial).tensors if config.initial else None
    make_task = partial(JointTask, config, sam, initial)
    write_json(Path(folder) / "config.json", as_dict(config))
    return train(make_task, crops, config.training, folder, list(one_each), data_card(config.data))
