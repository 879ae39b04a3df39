"""What `train` and `predict` share: the flags that the SatMVS family knows, and settings as SECTION.OPTION=VALUE."""

from __future__ import annotations

import argparse
import json
from typing import Any

# flag -> (section, option) of a training; the left side as the SatMVS family spells them
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
ARCHITECTURE = {flag: option for flag, (section, option) in ALIASES.items() if section == "network"}


def choose_gpu(args: argparse.Namespace) -> None:
    """Before torch is imported, which numbers the GPUs once."""
    import os

    if args.gpu_id is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = args.gpu_id


def apply_settings(values: dict[str, Any], settings: list[str]) -> None:
    """Settings SECTION.OPTION=VALUE into nested plain values."""
    for text in settings:
        name, _, value = text.partition("=")
        put(values, name, value)


def put(values: dict[str, Any], name: str, text: str) -> None:
    *sections, option = name.split(".")
    for section in sections:
        values = values.setdefault(section, {})
    value = value_of(text)
    values[option] = value.split(",") if isinstance(value, str) and option == "classes" else value


def value_of(text: str) -> Any:
    """A number, a list (64,32,8 or ["a","b"]), true, false, or the text itself."""
    try:
        return json.loads(f"[{text}]" if "," in text and not text.startswith("[") else text)
    except ValueError:
        return text
