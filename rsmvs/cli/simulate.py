"""`rsmvs simulate`: scenes with exact truth, invented or made of a finished run, and configurations ready to run."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", required=True, help="folder to write: images/, truth/, config.yaml")
    parser.add_argument("--preset", default="demo", help="demo (256 m, four views) or tiny (64 m, three views)")
    parser.add_argument("--seed", type=int, default=0, help="another number is another town")
    parser.add_argument("--style", help="kind of place instead of the preset's ('random': any)")
    parser.add_argument("--bands", choices=("pan", "rgb"), default="pan", help="what the sensor records")
    parser.add_argument("--bias", type=float, default=0.0, help="deviation of the cameras' errors (px); truth.json tells them")
    parser.add_argument("--from-products", metavar="RUN", help="new views of the surface and orthoimage of a finished run")
    parser.add_argument("--samples", type=int, metavar="N", help="with --from-products: N training samples instead of a scene")
    parser.add_argument("--size", type=int, default=512, help="side of the images of these samples (px)")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from rsmvs.errors import ConfigError
    from rsmvs.simulate.samples import SampleOptions
    from rsmvs.stages.simulate import product_samples

    if args.samples and not args.from_products:
        raise ConfigError("--samples", "needs --from-products", "invented samples come from 'rsmvs train --mode samples'")
    if args.samples:
        options = SampleOptions(width=args.size, height=args.size)
        print(f"{args.out}: {product_samples(args.from_products, args.out, args.samples, options, args.seed)} samples")
        return 0
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("building the scene and taking its pictures"):
            config = _scene(args)
    else:
        config = _scene(args)
    print(f"{config} is ready: rsmvs run {config}")
    return 0


def _scene(args: argparse.Namespace) -> object:
    from dataclasses import replace

    from rsmvs.simulate.options import preset, with_biases
    from rsmvs.stages.simulate import simulate, simulate_from_products

    if args.from_products:
        return simulate_from_products(args.from_products, args.out, args.seed)
    options = preset(args.preset, args.seed)
    if args.bias:
        options = with_biases(options, args.bias)
    scene = replace(options.scene, style=args.style or options.scene.style)
    return simulate(replace(options, scene=scene, views=tuple(replace(v, bands=args.bands) for v in options.views)), args.out)
