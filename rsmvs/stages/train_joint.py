"""Training of MVSR3D and MVSAM from samples to weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rsmvs.config import as_dict
from rsmvs.errors import ConfigError
from rsmvs.io.sam_weights import read_sam
from rsmvs.io.weights import read_weights
from rsmvs.semantic_options import SEMANTIC_PRESETS, JointConfig
from rsmvs.stages.train import read_config, refuse_missing_rdm, training_samples, write_samples
from rsmvs.training.datasets import Crops
from rsmvs.training.joint import JointTask
from rsmvs.training.loop import train


def read_joint(path: str | None, preset: str = "tiny", alone: bool = False) -> JointConfig:
    """A training as a YAML file describes it, over an architecture by name. alone: of MVSAM, without heights."""
    if preset not in SEMANTIC_PRESETS:
        raise ConfigError("--preset", f"'{preset}' is not known", f"choose from {', '.join(SEMANTIC_PRESETS)}")
    start = SEMANTIC_PRESETS[preset]
    config = read_config(JointConfig, path, start) if path else JointConfig(network=start)
    return replace(config, network=replace(config.network, heights=False, egspg=False)) if alone else config


def write_joint_samples(config: JointConfig, folder: str | Path) -> int:
    """`write_samples` with what the network starts from."""
    network, cascade = config.network, config.network.cascade
    return write_samples(config.data, folder, network.from_prior, network.heights and (cascade.rdm or cascade.rdm_guide))


def train_joint(config: JointConfig, folder: str | Path) -> Path:
    """Train, or go on training, in `folder`; returns the path of the weights. The configuration is kept beside them."""
    if config.network.heights:
        refuse_missing_rdm(config.data, config.network.cascade)
    samples, fixed = training_samples(config.data)
    crops: Any = Crops(samples, config.data, config.training.seed)
    one_each = Crops(fixed, replace(config.data, crops_per_sample=1), seed=1) if len(fixed) else []
    sam = read_sam(config.sam) if config.sam else None
    initial = read_weights(config.initial).tensors if config.initial else None
    make_task = partial(JointTask, config, sam, initial)
    return train(make_task, crops, config.training, folder, list(one_each), config=as_dict(config))
