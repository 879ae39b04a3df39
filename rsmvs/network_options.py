"""Options of the networks: their architecture, which stands in the card of their weights, and their training."""

from __future__ import annotations

from dataclasses import dataclass

from rsmvs.options import opt, section


@dataclass(frozen=True)
class CascadeOptions:
    """Architecture of a learned matcher; stands in the card of its weights."""

    regularizer: str = opt("casmvs", "from costs to heights", choices=("red", "casmvs", "ucs"))
    feature_channels: tuple[int, ...] = opt((8, 16, 32), "feature widths at strides 1, 2, 4", low=1, high=512)
    regularizer_widths: tuple[int, ...] = opt((8, 8, 8), "first width of the regularisers at strides 4, 2, 1", low=1, high=512)
    levels: int = opt(3, "halvings inside the regulariser", low=0, high=4)
    hypotheses: tuple[int, ...] = opt((64, 32, 8), "planes at strides 4, 2, 1; multiples of 2 ** levels", low=2, high=1024)
    interval_ratio: tuple[float, ...] = opt((4.0, 2.0, 1.0), "plane distances past the first stage, in min_interval", low=0)
    min_interval: float = opt(0.0, "unit of interval_ratio; 0: the GSD of the reference", unit="m", low=0)
    lamb: float = opt(1.5, "ucs: half search range of the next stage in standard deviations", low=0.1, high=10)
    reach_cells: int = opt(1, "later stages also search the heights of so many cells around, in cells of the stage before; odd",
                           low=1, high=9)
    visibility: bool = opt(False, "weigh each source by its learned visibility instead of equally")
    zncc_window: int = opt(0, "side of the correlation window added to the learned costs; 0: none", low=0, high=15)
    rdm: bool = opt(False, "fuse the relative depth map into the reference features")
    rdm_guide: bool = opt(False, "let the relative depth map sharpen the heights of each stage, on which the next range rests")
    polish: bool = opt(False, "choose the last height among those of neighbouring pixels by the image")
    prior_stage: int = opt(1, "first stage run when a prior height map is given", low=0, high=2)
    prior: str = opt("none", "where a height map to start from comes from, when none is given", choices=("none", "sgm"))
    prior_cells: int = opt(5, "neighbourhood whose prior heights are searched, in cells of that stage", low=1, high=31)


PRESETS = {
    "paper": CascadeOptions(),
    "small": CascadeOptions(feature_channels=(8, 12, 16), regularizer_widths=(8, 6, 4), levels=2, hypotheses=(48, 16, 8)),
    "refine": CascadeOptions(feature_channels=(4, 8, 12), regularizer_widths=(8, 8, 4), levels=2, hypotheses=(48, 16, 4),
                             zncc_window=5, polish=True, prior="sgm"),
}


@dataclass(frozen=True)
class RefinerOptions:
    """Architecture of the refinement on the ground grid; stands in the card of its weights."""

    candidates: int = opt(19, "candidate heights of a cell", low=2, high=256)
    channels: int = opt(5, "channels of a candidate", low=1, high=64)
    base: int = opt(15, "channels of a cell beside them", low=0, high=256)
    own: int = opt(6, "candidate that is the surface so far", low=0, high=255)
    widths: tuple[int, ...] = opt((32, 64, 96), "feature widths at strides 1, 2, 4, ...", low=1, high=512)


@dataclass(frozen=True)
class TrainOptions:
    steps: int = opt(10000, "optimiser steps", low=1)
    batch_size: int = opt(2, "samples per step and process", low=1, high=1024)
    accumulate: int = opt(1, "batches whose gradients are summed into one step", low=1, high=1024)
    lr: float = opt(1e-3, "learning rate", low=0)
    lr_end: float = opt(1e-5, "learning rate at the last step, on a cosine; equal to lr: constant", low=0)
    warmup: int = opt(0, "steps over which the learning rate rises from zero", low=0)
    optimizer: str = opt("rmsprop", "as published, or AdamW, with which transformers learn from scratch",
                         choices=("rmsprop", "adamw"))
    weight_decay: float = opt(0.0, "of the optimiser", low=0, high=1)
    alpha: float = opt(0.9, "RMSprop: smoothing of the squared gradient", low=0, high=1)
    clip_norm: float = opt(5.0, "largest gradient norm; 0: none", low=0)
    dlossw: tuple[float, ...] = opt((0.5, 1.0, 2.0), "weights of the stages' losses", low=0)
    ema: float = opt(0.0, "decay of the moving average of the weights that is kept in the end; 0: none", low=0, high=0.99999)
    freeze_norm: float = opt(1.0, "share of the steps after which batch normalisation keeps its statistics; 1: never", low=0,
                             high=1)
    precision: str = opt("auto", "arithmetic of the convolutions; auto: bf16 on a GPU, and by casmvs and ucs on "
                         "processors that have it (AMX, avx512_bf16)", choices=("auto", "fp32", "bf16"))
    workers: int = opt(0, "processes that prepare samples", low=0, high=256)
    threads: int = opt(0, "threads of a process; 0: the library's choice", low=0, high=256)
    seed: int = opt(0, "of initial weights and sample order", low=0)
    log_every: int = opt(10, "steps between rows of the log", low=1)
    save_every: int = opt(200, "steps between checkpoints", low=1)
    eval_every: int = opt(1000, "steps between evaluations of the fixed set", low=1)
    tensorboard: bool = opt(False, "also write TensorBoard events (needs the package tensorboard)")


@dataclass(frozen=True)
class DataOptions:
    dataset: str = opt("simulated", "where samples come from; aerial, tlc: the folders of WHU-MVS and WHU-TLC",
                       choices=("simulated", "samples", "aerial", "tlc"))
    dataset_root: str = opt("", "folder of the samples", path=True)
    ref_view: int = opt(2, "aerial, tlc: number of the reference view", low=0, high=1000)
    count: int = opt(2000, "simulated samples", low=1)
    first_seed: int = opt(0, "of the simulated samples", low=0)
    size: int = opt(256, "side of the simulated images", unit="px", low=64, high=4096)
    view_num: int = opt(3, "views of a set, the reference included; 0: all there are", low=0, high=20)
    geo_model: str = opt("auto", "cameras; auto: as a stored data set has them, RPC in simulated samples",
                         choices=("auto", "rpc", "pinhole"))
    crop: int = opt(128, "side of the crops", unit="px", low=32, high=4096)
    crops_per_sample: int = opt(4, "crops taken of each sample in an epoch", low=1, high=1000)
    slack: float = opt(30.0, "search range of a crop beyond its true heights, below and above, at most", unit="m", low=0)
    rdm: str = opt("given", "relative depth: as the samples bring it, made from the truth, or none",
                   choices=("given", "oracle", "none"))
    rdm_model: str = opt("", "model of the relative depth that written samples get, as rdm.model")
    evaluation: int = opt(16, "samples of the fixed set, which are not trained on", low=0, high=10000)
    gsd_min: float = opt(0.3, "finest GSD of the simulated samples", unit="m", low=0.05, high=10)
    gsd_max: float = opt(1.0, "coarsest GSD of the simulated samples", unit="m", low=0.05, high=10)


@dataclass(frozen=True)
class TrainConfig:
    """A training, as a YAML file holds it."""

    network: CascadeOptions = section(CascadeOptions, "architecture")
    training: TrainOptions = section(TrainOptions, "optimisation")
    data: DataOptions = section(DataOptions, "samples")
    initial: str = opt("", "weights to start from (safetensors); what they lack starts at random", path=True)


@dataclass(frozen=True)
class GroundDataOptions:
    dataset_root: str = opt("", "folder of the samples", path=True)
    count: int = opt(600, "simulated samples that are written", low=1)
    first_seed: int = opt(0, "of the simulated samples", low=0)
    size: int = opt(320, "side of the simulated images", unit="px", low=64, high=4096)
    styles: tuple[str, ...] = opt((), "kinds of places, in turn (see `rsmvs simulate --help`); none: any")
    views_min: int = opt(3, "fewest views of a scene", low=2, high=12)
    views_max: int = opt(4, "most views of a scene", low=2, high=12)
    gsd_min: float = opt(0.3, "finest GSD", unit="m", low=0.05, high=10)
    gsd_max: float = opt(1.0, "coarsest GSD", unit="m", low=0.05, high=10)
    crop: int = opt(128, "side of the crops; a multiple of 8", unit="cells", low=32, high=4096)
    crops_per_sample: int = opt(4, "crops taken of each sample in an epoch", low=1, high=1000)
    evaluation: int = opt(24, "samples, the last ones, which are not trained on", low=0, high=10000)


@dataclass(frozen=True)
class GroundTrainConfig:
    """A training of the refinement on the ground grid."""

    network: RefinerOptions = section(RefinerOptions, "architecture")
    training: TrainOptions = section(TrainOptions, "optimisation")
    data: GroundDataOptions = section(GroundDataOptions, "samples")
    initial: str = opt("", "weights to start from (safetensors); what they lack starts at random", path=True)


@dataclass(frozen=True)
class MonocularConfig:
    """A training of relative depth from single images."""

    training: TrainOptions = section(TrainOptions, "optimisation")
    data: DataOptions = section(DataOptions, "samples")
    initial: str = opt("", "weights to start from (safetensors); what they lack starts at random", path=True)
