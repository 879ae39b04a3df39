"""`rsmvs train`: samples to weights. Every option of a training has a flag; the best-known ones keep their old names."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rsmvs.cli.settings import ALIASES, apply_settings, choose_gpu, put

JOINT = ("mvsr3d", "mvsam")  # models of heights and classes, or of classes alone
GROUND = "ground"  # the refinement of the fused surface
RDM = "rdm"  # relative depth of single images
_FOLDERS = {"train": "runs/training", "samples": "runs/samples", "test": "runs/predictions"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", help="folder of the training, where one that holds a checkpoint goes on; without it "
                        + ", ".join(f"{folder} (--mode {mode})" for mode, folder in _FOLDERS.items()))
    parser.add_argument("--config", help="YAML file with the sections network, training, data; its paths count from its folder")
    parser.add_argument("--preset", help="architecture: paper, small (default) or refine; of mvsr3d and mvsam: tiny (default), "
                        "tiny_refine, vit_b, vit_l or vit_h")
    parser.add_argument("--mode", default="train", choices=tuple(_FOLDERS),
                        help="samples: write the simulated samples to --out; test: what predict does with --loadckpt")
    parser.add_argument("--loadckpt", default="", help="weights to start from, or to test (.safetensors)")
    parser.add_argument("--gpu_id", help="GPU to use; the first one when absent")
    parser.add_argument("--epochs", type=int, help="passes over the data, instead of training.steps")
    for flag, (section, option) in ALIASES.items():
        named = "model: red, casmvs, ucs, mvsr3d, mvsam, ground or rdm" if flag == "model" else f"{section}.{option}"
        parser.add_argument(f"--{flag}", help=named)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="any other option")


@dataclass(frozen=True)
class Kind:
    """How a kind of model is trained. config: from the flags; train: (config, folder) to the weights' path; epochs:
    (config, number) to the config with its steps; samples: (config, folder) to how many were written."""

    config: Callable[[argparse.Namespace], Any]
    train: Callable[[Any, str], Any]
    epochs: Callable[[Any, int], Any]
    samples: Callable[[Any, str], int]


def run(args: argparse.Namespace) -> int:
    choose_gpu(args)
    out = args.out or _FOLDERS[args.mode]
    if args.mode == "test":
        return _test(args, out)
    kind = kind_of(args.model)
    config = kind.config(args)
    if args.mode == "samples":
        print(f"{out}: {kind.samples(config, out)} samples")
        return 0
    if args.epochs:
        config = kind.epochs(config, args.epochs)
    print(f"{kind.train(config, out)} is trained")
    return 0


def kind_of(model: str | None) -> Kind:
    from rsmvs.stages.train import train_cascade, with_epochs, write_cascade_samples, write_samples

    if model == GROUND:
        from rsmvs.network_options import GroundTrainConfig
        from rsmvs.stages.ground_samples import write_ground_samples
        from rsmvs.stages.train_ground import train_ground, with_ground_epochs

        return Kind(lambda args: plain_config(args, GroundTrainConfig), train_ground, with_ground_epochs,
                    lambda config, out: write_ground_samples(config.data, out))  # fmt: skip
    if model == RDM:
        from rsmvs.network_options import MonocularConfig
        from rsmvs.stages.train_rdm import train_rdm

        return Kind(lambda args: plain_config(args, MonocularConfig), train_rdm, with_epochs,
                    lambda config, out: write_samples(config.data, out))  # fmt: skip
    if model in JOINT:
        from rsmvs.stages.train_joint import train_joint, write_joint_samples

        return Kind(joint_config, train_joint, with_epochs, write_joint_samples)
    return Kind(train_config, train_cascade, with_epochs, write_cascade_samples)


def _test(args: argparse.Namespace, out: str) -> int:
    """Prediction with what the training's flags and file say of samples and architecture."""
    from rsmvs.cli.predict import report, wanted
    from rsmvs.config import build
    from rsmvs.errors import ConfigError
    from rsmvs.options import LearnedOptions
    from rsmvs.stages.predict import predict_samples
    from rsmvs.stages.train import held_out

    if args.model in (GROUND, RDM):
        raise ConfigError("--mode", f"is 'test', which '{args.model}' does not know", "see the scores in evaluation.csv")
    if not args.loadckpt:
        raise ConfigError("--loadckpt", "is not set", "name the weights to test")
    config = kind_of(args.model).config(args)
    data = held_out(config.data)
    options = build(LearnedOptions, {"weights": args.loadckpt}, "rsmvs train")
    batch = config.training.batch_size if args.batch_size else 1
    return report(predict_samples(data, options, out, wanted(args), batch))


def train_config(args: argparse.Namespace) -> Any:
    """The training that preset, file and flags describe; later ones win."""
    from rsmvs.config import as_dict, build
    from rsmvs.network_options import TrainConfig
    from rsmvs.stages.train import preset_of, read_training

    preset = args.preset or "small"
    config = read_training(args.config, preset) if args.config else TrainConfig(network=preset_of(preset))
    values = _with_flags(as_dict(config), args)
    return build(TrainConfig, values, args.config or "rsmvs train")


def joint_config(args: argparse.Namespace) -> Any:
    """The training of heights and classes together that preset, file and flags describe; later ones win.

    Options are named by their whole path: network.cascade.levels, class_weight.
    """
    from rsmvs.config import as_dict, build
    from rsmvs.semantic_options import JointConfig
    from rsmvs.stages.train_joint import read_joint

    values = as_dict(read_joint(args.config, args.preset or "tiny", args.model == "mvsam"))
    return build(JointConfig, _with_flags(values, args, "network.cascade"), args.config or "rsmvs train")


def plain_config(args: argparse.Namespace, kind: type) -> Any:
    """The training of a model without presets that file and flags describe; later ones win."""
    from typing import get_type_hints

    from rsmvs.config import as_dict, build
    from rsmvs.errors import ConfigError
    from rsmvs.stages.train import read_config

    sections = get_type_hints(kind)
    unknown = ["preset"] * (args.preset is not None)
    for flag, (section, option) in ALIASES.items():
        known = section != "network" and option in sections[section].__dataclass_fields__ and flag != "dlossw"
        unknown += [flag] * (flag != "model" and getattr(args, flag) is not None and not known)
    if unknown:
        named = ", ".join(f"--{flag}" for flag in unknown)
        raise ConfigError(named, f"not known to the model '{args.model}'", "leave it out; --set names any option it has")
    values = as_dict(read_config(kind, args.config)) if args.config else {}
    return build(kind, _with_flags(values, args), args.config or "rsmvs train")


def _with_flags(values: dict[str, Any], args: argparse.Namespace, network: str = "network") -> dict[str, Any]:
    """Flags and settings put into the plain values of a training. network: where the options of the cascade lie."""
    for flag, (section, option) in ALIASES.items():
        named = flag != "model" or args.model not in (*JOINT, GROUND, RDM)
        if named and getattr(args, flag) is not None:
            put(values, f"{network if section == 'network' else section}.{option}", getattr(args, flag))
    apply_settings(values, args.set)
    if args.loadckpt and args.mode != "test":
        values["initial"] = args.loadckpt
    return values
