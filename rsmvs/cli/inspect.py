"""`rsmvs inspect`: what images are, which cameras were found where, how they look at the ground, what to look out for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files")
    parser.add_argument("--camera", help="camera file, where it is neither inside nor beside the image")
    parser.add_argument("--height", type=float, help="ellipsoidal height of the ground in metres, for footprint and angles")
    parser.add_argument("--json", metavar="FILE", help="write all of it to a JSON file ('-': to standard output, alone)")


def run(args: argparse.Namespace) -> int:
    from rsmvs.io.manifests import json_text, write_text
    from rsmvs.stages.inspection import inspect_images

    found = inspect_images(args.images, args.camera, args.height)
    if args.json == "-":
        print(json_text(found), end="")
    else:
        print_inspection(found)
        if args.json:
            write_text(args.json, json_text(found))
    errors = [image["error"] for image in found["images"] if "error" in image]
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if errors else 0


def print_inspection(found: dict[str, Any]) -> None:
    """The inspection as tables on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    for image in found["images"]:
        if "error" in image:
            continue
        console.print(image["path"], style="bold", soft_wrap=True)
        table = Table(show_header=False, box=None, pad_edge=False)
        for name, value in _rows(image).items():
            table.add_row(f"  {name}", value)
        for warning in image["warnings"]:
            table.add_row("  [yellow]look out[/yellow]", warning)
        console.print(table)
    good = [i for i in found["images"] if "error" not in i]
    if len(good) > 1:
        console.print("Convergence angle (degrees) / time difference (days) of each pair", style="bold")
        console.print(_matrix(good, found["pairs"]))


def _rows(i: dict[str, Any]) -> dict[str, str]:
    low, high = i["height_range"]
    xmin, ymin, xmax, ymax = i["bounds"]
    clouds = "" if i["clouds_percent"] is None else f", clouds {i['clouds_percent']:g} %"
    data = "none declared" if i["nodata"] is None else f"{i['nodata']:g}"
    return {
        "size": f"{i['width']} x {i['height']} px, {i['bands']} x {i['type']}, {i['format']}",
        "matching image": i["matching_image"],
        "product level": f"{i['level']}: {i['level_why']}",
        "no data": f"{data}; {100 * i['usable_share']:.0f} % usable{clouds}",
        "camera": f"{i['camera']}, from {i['camera_source']}",
        "round trip": f"{i['round_trip_px']:.1e} px",
        "heights": f"{low:.0f} to {high:.0f} m (ellipsoidal, where the camera is valid)",
        "GSD": f"{i['gsd']:.3f} m at the centre",
        "incidence": f"{i['incidence']:.2f} degrees from the vertical",
        "azimuth": f"{i['azimuth']:.1f} degrees, from the ground towards the sensor",
        "footprint": f"longitude {xmin:.5f} to {xmax:.5f}, latitude {ymin:.5f} to {ymax:.5f}",
        "date": i["date"] or "not in the metadata",
        "sun": "not in the metadata" if i["sun"] is None else f"azimuth {i['sun'][0]:.1f}, elevation {i['sun'][1]:.1f} degrees",
    }


def _matrix(images: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table()
    names = [i["id"] if sum(j["id"] == i["id"] for j in images) == 1 else Path(i["path"]).name for i in images]
    cells = {frozenset(p["images"]): p for p in pairs}
    table.add_column("")
    for name in names[1:]:
        table.add_column(name, justify="right")
    for k, (name, image) in enumerate(zip(names[:-1], images[:-1], strict=True)):
        row = ["" for _ in range(k)]
        for other in images[k + 1 :]:
            pair = cells[frozenset((image["path"], other["path"]))]
            days = "?" if pair["days"] is None else format(pair["days"], ".0f")
            row.append(f"{pair['convergence_angle']:.1f} / {days}" if pair["overlap"] else "apart")
        table.add_row(name, *row)
    return table
