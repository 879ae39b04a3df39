"""Training of a cascade from samples to weights; the samples of any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from rsmvs.config import as_dict, build, resolved
from rsmvs.errors import ConfigError
from rsmvs.io.manifests import read_yaml
from rsmvs.io.samples import SampleFiles, read_sample, write_sample
from rsmvs.io.weights import read_weights
from rsmvs.network_options import PRESETS, CascadeOptions, DataOptions, TrainConfig, TrainOptions
from rsmvs.networks.learned import with_prior
from rsmvs.networks.tensors import stack_of
from rsmvs.options import RdmOptions
from rsmvs.simulate.samples import SampleOptions, SimulatedSamples
from rsmvs.stages.rdm import depth_model, rdm_of
from rsmvs.training.datasets import Crops
from rsmvs.training.loop import train
from rsmvs.training.readers import ViewFolders
from rsmvs.training.tasks import CascadeTask
from rsmvs.types import Sample

_EVALUATION_SEED = 900_000_000  # simulated scenes of the fixed set: far from every training seed


def read_training(path: str, preset: str = "small") -> TrainConfig:
    """The training of a cascade as a YAML file describes it, over an architecture by name."""
    return read_config(TrainConfig, path, preset_of(preset))  # type: ignore[no-any-return]


def read_config(kind: type, path: str, network: Any = None) -> Any:
    """A training of any kind as a YAML file describes it; relative paths count from the file's folder.

    network: the options that the file's section network starts from.
    """
    values = read_yaml(path)
    if network is not None and isinstance(values.get("network") or {}, dict):
        values = {**values, "network": merged(as_dict(network), values.get("network") or {})}
    config: Any = build(kind, values, path)
    found = resolved(config, Path(path).resolve().parent)
    return found if config.initial.endswith(".safetensors") else replace(found, initial=config.initial)  # a name is no path


def merged(values: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """`values` with those of `more`, section by section."""
    both = {k: merged(values[k], v) if isinstance(v, dict) and isinstance(values.get(k), dict) else v for k, v in more.items()}
    return {**values, **both}


def preset_of(name: str) -> CascadeOptions:
    if name not in PRESETS:
        raise ConfigError("--preset", f"'{name}' is not known", f"choose from {', '.join(PRESETS)}")
    return PRESETS[name]


def train_cascade(config: TrainConfig, folder: str | Path) -> Path:
    """Train, or go on training, in `folder`; returns the path of the weights. The configuration is kept beside them."""
    data = config.data
    refuse_missing_rdm(data, config.network)
    samples, fixed = training_samples(data)
    crops = Crops(samples, data, config.training.seed)
    one_each = Crops(fixed, replace(data, crops_per_sample=1), seed=1) if len(fixed) else []
    initial = read_weights(config.initial).tensors if config.initial else None
    make_task = partial(CascadeTask, config.network, config.training.dlossw, initial)
    return train(make_task, crops, config.training, folder, list(one_each), config=as_dict(config))  # type: ignore[arg-type]


def refuse_missing_rdm(data: DataOptions, cascade: CascadeOptions) -> None:
    """ConfigError when a network that fuses relative depth is promised none."""
    if data.rdm == "none" and (cascade.rdm or cascade.rdm_guide):
        raise ConfigError("data.rdm", "is 'none', but the network fuses relative depth", "choose given or oracle")


def steps_of(epochs: int, crops: int, training: TrainOptions) -> TrainOptions:
    """As many steps as take every one of so many crops `epochs` times in one process."""
    return replace(training, steps=-(-crops * epochs // (training.batch_size * training.accumulate)))


def with_epochs(config: Any, epochs: int) -> Any:
    """A training (TrainConfig, JointConfig or MonocularConfig) of so many passes over its crops."""
    crops = len(training_samples(config.data)[0]) * config.data.crops_per_sample
    return replace(config, training=steps_of(epochs, crops, config.training))


def training_samples(data: DataOptions) -> tuple[Any, Any]:
    """(samples to learn from, samples of the fixed set). Of stored samples the last ones make the fixed set."""
    if data.dataset != "simulated":
        stored = stored_samples(data, "train")
        if data.evaluation >= len(stored):
            raise ConfigError("data.evaluation", f"takes all {len(stored)} samples", "lower it, or give more samples")
        cut = len(stored) - data.evaluation
        return Subset(stored, range(cut)), Subset(stored, range(cut, len(stored)))
    camera = "aerial" if data.geo_model == "pinhole" else "satellite"
    views = data.view_num or 3
    options = SampleOptions(width=data.size, height=data.size, views=views, camera=camera, gsd_min=data.gsd_min,
                            gsd_max=data.gsd_max)
    return SimulatedSamples(data.count, data.first_seed, options), SimulatedSamples(data.evaluation, _EVALUATION_SEED, options)


def held_out(data: DataOptions) -> DataOptions:
    """Of samples that a training with these options does not see: simulated ones of the fixed set, of stored ones those that
    `dataset_root` names."""
    return replace(data, count=max(data.evaluation, 1), first_seed=_EVALUATION_SEED) if data.dataset == "simulated" else data


def stored_samples(data: DataOptions, part: str) -> Any:
    """The data set of a folder: the project's own samples, or a published layout, whose root may hold train/ and test/.

    part: which of these two. ConfigError when the cameras are not of the geometry that is asked for.
    """
    if data.dataset == "samples":
        if data.geo_model != "auto":
            cause = f"is '{data.geo_model}', but samples hold no cameras: their warps serve both"
            raise ConfigError("data.geo_model", cause, "leave it out")
        return SampleFiles(data.dataset_root)
    root = Path(data.dataset_root)
    found = ViewFolders(root if (root / "image").is_dir() or not (root / part).is_dir() else root / part,
                        data.view_num or 3, data.ref_view)  # fmt: skip
    if data.geo_model not in ("auto", found.geo_model):
        cause = f"is '{data.geo_model}', but the cameras of {found.root} are '{found.geo_model}'"
        raise ConfigError("data.geo_model", cause, "name that, or another data set")
    return found


def write_samples(data: DataOptions, folder: str | Path, prior: bool = False, rdm: bool = False) -> int:
    """The simulated samples of a training as files, where they are not there yet; returns how many there are.

    Made once, they are read a hundred times faster than they are made. They bring what the network starts from: a prior, and
    relative depth by `data.rdm_model`; samples that are there are only given what they lack.
    """
    learned, fixed = training_samples(replace(data, dataset="simulated"))
    complete = completed(data, prior, rdm)
    n = 0
    for group, samples in (("a", learned), ("b", fixed)):  # by name, the fixed set comes last
        for i in range(len(samples)):
            path = Path(folder) / f"{group}{data.first_seed + i:08d}.npz"
            before = read_sample(path) if path.exists() else None
            sample = complete(before or samples[i])
            if sample is not before:
                write_sample(path, sample)
            n += 1
    return n


def write_cascade_samples(config: TrainConfig, folder: str | Path) -> int:
    """`write_samples` with what the network starts from."""
    network = config.network
    return write_samples(config.data, folder, network.prior == "sgm", network.rdm or network.rdm_guide)


def completed(data: DataOptions, prior: bool, rdm: bool) -> Callable[[Sample], Sample]:
    """Gives a sample the prior and the relative depth (by `data.rdm_model`) that are wanted and it lacks; else returns it
    untouched."""
    options = RdmOptions(model=data.rdm_model)
    depth = depth_model(options.model)[0] if rdm else None

    def complete(sample: Sample) -> Sample:
        if prior and sample.prior is None:
            sample = replace(sample, prior=with_prior(stack_of(sample)).prior)
        if depth is not None and sample.rdm is None:
            sample = replace(sample, rdm=rdm_of(sample.images[0], depth, options))
        return sample

    return complete
