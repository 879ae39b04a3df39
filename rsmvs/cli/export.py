"""`rsmvs export`: the cameras of a run as files that other programs read."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("views", help="views.json of a run: as delivered, or adjusted/views.json")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER", help="folder to write to")
    parser.add_argument("--images", action="store_true", help="copies of the images too, with the cameras in their tags")


def run(args: argparse.Namespace) -> int:
    from rsmvs.stages.export import export_cameras

    names = export_cameras(args.views, args.out, images=args.images)
    print(f"{args.out}: {', '.join(names)}")
    return 0
