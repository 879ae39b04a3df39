"""`rsmvs inspect`: what an image is, which camera was found where, and how it looks at the ground."""

from __future__ import annotations

import argparse
import sys
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--camera", help="camera file, where it is neither inside nor beside the image")


def run(args: argparse.Namespace) -> int:
    from rich.console import Console

    from rsmvs.errors import RsmvsError
    from rsmvs.options import ImageOptions
    from rsmvs.stages.views import describe_image

    console, failed = Console(width=None if sys.stdout.isatty() else 160, highlight=False), 0
    for path in args.images:
        try:
            console.print(_table(describe_image(ImageOptions(path=path, camera=args.camera))))
        except RsmvsError as error:
            failed = 1
            print(f"error: {error}", file=sys.stderr)
    return failed


def _table(view: Any) -> Any:
    from rich.table import Table

    table = Table(title=view.path, title_justify="left", show_header=False, box=None, pad_edge=False)
    low, high = view.camera.height_range
    lon, lat = zip(*view.footprint, strict=True)
    rows = {
        "size": f"{view.width} x {view.height} px, {len(view.weights)} band{'s' if len(view.weights) > 1 else ''}",
        "no data": "none declared" if view.nodata is None else f"{view.nodata:g}",
        "camera": f"{view.camera.kind}, from {view.camera_source}",
        "heights": f"{low:.0f} to {high:.0f} m (ellipsoidal, where the camera is valid)",
        "GSD": f"{view.gsd:.3f} m at the centre",
        "incidence": f"{view.incidence:.2f} degrees from the vertical",
        "azimuth": f"{view.azimuth:.1f} degrees, from the ground towards the sensor",
        "footprint": f"longitude {min(lon):.5f} to {max(lon):.5f}, latitude {min(lat):.5f} to {max(lat):.5f}",
        "date": view.date or "not in the metadata",
        "sun": "not in the metadata" if view.sun is None else f"azimuth {view.sun[0]:.1f}, elevation {view.sun[1]:.1f} degrees",
    }
    for name, value in rows.items():
        table.add_row(f"  {name}", value)
    return table
