"""`rsmvs predict`: heights of a prepared set of samples by trained weights."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", required=True, help="folder to write: a GeoTIFF a sample, index.json")
    parser.add_argument("--loadckpt", required=True, help="trained weights: a .safetensors file, or an embedded name")
    parser.add_argument("--dataset", default="samples", help="samples, aerial (WHU-MVS), tlc (WHU-TLC) or simulated")
    parser.add_argument("--dataset_root", default="", help="folder of the samples")
    parser.add_argument("--view_num", type=int, default=0, help="views of a set; 0: all there are")
    parser.add_argument("--ref_view", type=int, default=2, help="aerial, tlc: number of the reference view")
    parser.add_argument("--geo_model", default="rpc", choices=("rpc", "pinhole"), help="cameras of simulated samples")
    parser.add_argument("--backend", default="auto", help="auto, torch or openvino")
    parser.add_argument("--count", type=int, default=16, help="simulated samples")
    parser.add_argument("--gpu_id", help="GPU to use; the first one when absent")


def run(args: argparse.Namespace) -> int:
    import os

    if args.gpu_id is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = args.gpu_id
    from rsmvs.config import build
    from rsmvs.network_options import DataOptions
    from rsmvs.options import LearnedOptions
    from rsmvs.stages.train import predict_samples

    names = ("dataset", "dataset_root", "view_num", "ref_view", "geo_model", "count")
    data = build(DataOptions, {name: getattr(args, name) for name in names}, "rsmvs predict")
    options = build(LearnedOptions, {"backend": args.backend}, "rsmvs predict")
    print(f"{predict_samples(args.loadckpt, data, options, args.out)} is written")
    return 0
