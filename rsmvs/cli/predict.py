"""`rsmvs predict`: heights, and classes, of a prepared set of samples by trained weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rsmvs.cli.settings import ARCHITECTURE, apply_settings, choose_gpu, value_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", default="runs/predictions",
                        help="folder to write: a GeoTIFF a sample, index.json; without it %(default)s")
    parser.add_argument("--loadckpt", required=True, help="trained weights: a .safetensors file, or an embedded name")
    parser.add_argument("--dataset", default="samples", help="samples, aerial (WHU-MVS), tlc (WHU-TLC) or simulated")
    parser.add_argument("--dataset_root", default="", help="folder of the samples")
    parser.add_argument("--view_num", type=int, default=0, help="views of a set; 0: all there are, of aerial and tlc three")
    parser.add_argument("--ref_view", type=int, default=2, help="aerial, tlc: number of the reference view")
    parser.add_argument("--geo_model", default="auto", help="auto, rpc or pinhole: cameras, checked where they are given")
    parser.add_argument("--mode", default="predict", choices=("predict", "test"), help="both write heights and their errors")
    parser.add_argument("--batch_size", type=int, default=1, help="samples that go through a cascade together")
    for flag in ARCHITECTURE:
        what = "unit of the plane distances (m), where the weights leave it to the GSD" if flag == "min_interval" else "checked"
        parser.add_argument(f"--{flag}", help=f"{what}; an error where the weights were trained with another one")
    parser.add_argument("--rdm_model", default="", help="makes the relative depth that samples lack: as rdm.model, or rdm-tiny")
    parser.add_argument("--backend", default="auto", help="auto, torch or openvino")
    parser.add_argument("--count", type=int, default=16, help="simulated samples")
    parser.add_argument("--gpu_id", help="GPU to use; the first one when absent")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="any other of heights.learned")


def run(args: argparse.Namespace) -> int:
    choose_gpu(args)
    from rsmvs.config import build
    from rsmvs.network_options import DataOptions, TrainOptions
    from rsmvs.options import LearnedOptions
    from rsmvs.stages.predict import predict_samples

    names = ("dataset", "dataset_root", "view_num", "ref_view", "geo_model", "count", "rdm_model")
    data = build(DataOptions, {name: getattr(args, name) for name in names}, "rsmvs predict")
    values: dict[str, Any] = {"weights": args.loadckpt, "backend": args.backend}
    apply_settings(values, args.set)
    options = build(LearnedOptions, values, "rsmvs predict")
    batch = build(TrainOptions, {"batch_size": args.batch_size}, "rsmvs predict").batch_size
    return report(predict_samples(data, options, args.out, wanted(args), batch))


def wanted(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the architecture that flags name, which the weights must not contradict."""
    return {option: value_of(text) for flag, option in ARCHITECTURE.items() if (text := getattr(args, flag)) is not None}


def report(index: Path) -> int:
    """Mean scores, and what a user should know of the samples."""
    from rsmvs.io.manifests import read_json

    content = read_json(index)
    print(f"{index} is written: {len(content['samples'])} samples")
    for name, value in content["mean"].items():
        print(f"  {name:14} {value:.4g}")
    for note in content["notes"]:
        print(f"  note: {note}")
    return 0
