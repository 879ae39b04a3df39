"""`rsmvs train`: samples to weights. Every option of a training has a flag; the best-known ones keep their old names."""

from __future__ import annotations

import argparse
import json
from typing import Any

# flag -> (section, option) of TrainConfig; the left side as the SatMVS family spells them
ALIASES = {
    "model": ("network", "regularizer"),
    "ndepths": ("network", "hypotheses"),
    "depth_inter_r": ("network", "interval_ratio"),
    "min_interval": ("network", "min_interval"),
    "lamb": ("network", "lamb"),
    "dlossw": ("training", "dlossw"),
    "lr": ("training", "lr"),
    "batch_size": ("training", "batch_size"),
    "dataset": ("data", "dataset"),
    "dataset_root": ("data", "dataset_root"),
    "view_num": ("data", "view_num"),
    "ref_view": ("data", "ref_view"),
    "geo_model": ("data", "geo_model"),
}


JOINT = ("mvsr3d", "mvsam")  # models of heights and classes, or of classes alone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", required=True, help="folder of the training; one that holds a checkpoint goes on")
    parser.add_argument("--config", help="YAML file with the sections network, training, data")
    parser.add_argument("--preset", help="architecture: paper, small (default) or refine; of mvsr3d and mvsam: tiny (default), "
                        "tiny_refine, vit_b, vit_l or vit_h")
    parser.add_argument("--mode", default="train", choices=("train", "samples"),
                        help="samples: write the simulated samples to --out")
    parser.add_argument("--loadckpt", default="", help="weights to start from (.safetensors)")
    parser.add_argument("--gpu_id", help="GPU to use; the first one when absent")
    parser.add_argument("--epochs", type=int, help="passes over the data, instead of training.steps")
    for flag, (section, option) in ALIASES.items():
        parser.add_argument(f"--{flag}", help=f"{section}.{option}")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.OPTION=VALUE", help="any other option")


def run(args: argparse.Namespace) -> int:
    import os

    if args.gpu_id is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = args.gpu_id
    if args.model in JOINT and args.mode == "train":
        from rsmvs.stages.train_joint import train_joint

        print(f"{train_joint(joint_config(args), args.out)} is trained")
        return 0
    from rsmvs.stages.train import train_cascade, with_epochs, write_samples

    config = train_config(args)
    if args.mode == "samples":
        print(f"{args.out}: {write_samples(config, args.out)} samples")
        return 0
    if args.epochs:
        config = with_epochs(config, args.epochs)
    print(f"{train_cascade(config, args.out)} is trained")
    return 0


def train_config(args: argparse.Namespace) -> Any:
    """The training that preset, file and flags describe; later ones win."""
    from rsmvs.config import as_dict, build
    from rsmvs.errors import ConfigError
    from rsmvs.io.manifests import read_yaml
    from rsmvs.network_options import PRESETS, TrainConfig

    preset = args.preset or "small"
    if preset not in PRESETS:
        raise ConfigError("--preset", f"'{preset}' is not known", f"choose from {', '.join(PRESETS)}")
    values: dict[str, Any] = {"network": as_dict(PRESETS[preset]), "training": {}, "data": {}}
    for section, given in (read_yaml(args.config) if args.config else {}).items():
        values[section] = {**values.get(section, {}), **given} if isinstance(given, dict) else given
    settings = [(*target, getattr(args, flag)) for flag, target in ALIASES.items() if getattr(args, flag) is not None]
    for text in args.set:
        name, _, value = text.partition("=")
        section, _, option = name.partition(".")
        settings.append((section, option, value))
    for section, option, text in settings:
        values.setdefault(section, {})[option] = _value(text)
    if args.loadckpt:
        values["initial"] = args.loadckpt
    return build(TrainConfig, values, args.config or "rsmvs train")


def joint_config(args: argparse.Namespace) -> Any:
    """The training of heights and classes together that preset, file and flags describe; later ones win.

    Options are named by their whole path: network.cascade.levels, class_weight.
    """
    from rsmvs.config import as_dict, build
    from rsmvs.errors import ConfigError
    from rsmvs.io.manifests import read_yaml
    from rsmvs.semantic_options import SEMANTIC_PRESETS, JointConfig

    preset = args.preset or "tiny"
    if preset not in SEMANTIC_PRESETS:
        raise ConfigError("--preset", f"'{preset}' is not known", f"choose from {', '.join(SEMANTIC_PRESETS)}")
    if args.epochs:
        raise ConfigError("--epochs", f"is not known to {args.model}", "give training.steps")
    values: dict[str, Any] = {"network": as_dict(SEMANTIC_PRESETS[preset])}
    _merge(values, read_yaml(args.config) if args.config else {})
    if args.model == "mvsam":
        values["network"] |= {"heights": False, "egspg": False}
    for flag, (section, option) in ALIASES.items():
        if flag != "model" and getattr(args, flag) is not None:
            _set(values, ("network.cascade" if section == "network" else section) + f".{option}", getattr(args, flag))
    for text in args.set:
        name, _, value = text.partition("=")
        _set(values, name, value)
    if args.loadckpt:
        values["initial"] = args.loadckpt
    return build(JointConfig, values, args.config or "rsmvs train")


def _merge(values: dict[str, Any], given: dict[str, Any]) -> None:
    """`given` into `values`, section by section."""
    for key, value in given.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def _set(values: dict[str, Any], name: str, text: str) -> None:
    *sections, option = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    value = _value(text)
    values[option] = value.split(",") if isinstance(value, str) and option == "classes" else value


def _value(text: str) -> Any:
    """A number, a list of numbers (64,32,8), true, false, or the text itself."""
    try:
        return json.loads(f"[{text}]" if "," in text else text)
    except ValueError:
        return text
