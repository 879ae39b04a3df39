"""`rsmvs init`: a commented configuration for a set of images."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images of one area, cameras inside or beside them")
    parser.add_argument("--aoi", help="area of interest, a GeoJSON polygon; what the images share when absent")
    parser.add_argument("--gsd", type=float, help="cell size of the products in metres; from the images when absent")
    parser.add_argument("--reference", help="reference DSM to evaluate against")
    parser.add_argument("-o", "--out", required=True, help="configuration to write (YAML)")
    parser.add_argument("--force", action="store_true", help="replace an existing configuration")


def run(args: argparse.Namespace) -> int:
    from rsmvs.errors import ConfigError
    from rsmvs.stages.first_config import first_config

    if Path(args.out).exists() and not args.force:
        raise ConfigError(args.out, "exists", "name another file, or add --force")
    area = first_config(args.images, args.out, aoi=args.aoi, gsd=args.gsd, reference=args.reference)["area"]
    if "aoi" in area:
        xmin, ymin, xmax, ymax = area["aoi"]
        size = f"{xmax - xmin:g} x {ymax - ymin:g} m"
    else:
        size = area["aoi_file"]
    print(f"{args.out}: {len(args.images)} images, {area['crs']}, area {size}, cells of {area['resolution']:g} m")
    print(f"go on with: rsmvs run {args.out}")
    return 0
