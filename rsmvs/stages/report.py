"""What people and catalogues see of a run: the preview, the STAC item with the manifest, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from rsmvs.evaluation import report as page
from rsmvs.evaluation.catalogue import manifest, stac_item
from rsmvs.evaluation.pictures import diverging, ramp, relief, side_by_side, stretched
from rsmvs.geometry.vertical import horizontal
from rsmvs.io.layers import SEMANTIC, STATUS
from rsmvs.io.lidar import SUFFIXES
from rsmvs.io.manifests import read_json, write_json, write_text
from rsmvs.io.raster import encoded_picture, grid_of, opened, read_colour, read_onto, read_small, write_picture
from rsmvs.io.views import read_views

PREVIEW_REVISION = 1
CATALOGUE_REVISION = 1
REPORT_REVISION = 1

_PREVIEW_SIDE = 1000  # pixels
_LAYER_SIDE = 1600  # pixels of the report's pictures: seven of them stay under ten megabytes
_HEIGHTS_SIDE = 700
_MATTERING = ("numpy", "numba", "rasterio", "pyproj", "scipy", "opencv-python-headless", "laspy", "lazrs", "copclib",
              "bulldozer-dtm", "torch")  # fmt: skip


def picture_scene(dsm: str | Path, ortho: str | Path, out_png: str | Path) -> None:
    """The relief of the scene coloured by height, and the orthoimage beside it."""
    heights, step = read_small(dsm, _PREVIEW_SIDE)
    write_picture(out_png, side_by_side(relief(heights, step), stretched(read_colour(ortho, _PREVIEW_SIDE))))


def picture_difference(a: str | Path, b: str | Path, shift: Mapping[str, float], out_png: str | Path) -> None:
    """Heights of `a`, moved by the shift (m), less those of `b`: blue -3 m, white, red +3 m, grey where one is missing."""
    heights, _ = read_small(a, _LAYER_SIDE)
    other = read_onto(b, a, heights.shape, (shift["dx"], shift["dy"]))
    write_picture(out_png, diverging(heights + shift["dz"] - other, 3.0))


def catalogue_scene(
    products: Sequence[str | Path], views: str | Path, config: Mapping[str, Any], out_item: str | Path, out_manifest: str | Path
) -> None:
    """item.json (STAC) and manifest.json of the files `products`, among them dsm.tif and ledger.json."""
    files = {Path(p).name: Path(p) for p in products}
    records, ledger = read_views(views), read_json(files["ledger.json"])
    with opened(files["dsm.tif"]) as src:
        grid = grid_of(src.transform, (src.height, src.width), files["dsm.tif"])
        crs = pyproj.CRS.from_wkt(src.crs.to_wkt())
        vertical = src.tags()["VERTICAL_DATUM"]
    xmin, ymin, xmax, ymax = grid.bounds
    to_lon_lat = pyproj.Transformer.from_crs(horizontal(crs), "EPSG:4326", always_xy=True)
    lons, lats = to_lon_lat.transform([xmin, xmax, xmax, xmin], [ymin, ymin, ymax, ymax])
    ring = [(round(lon, 9), round(lat, 9)) for lon, lat in zip(lons, lats, strict=True)]
    code = horizontal(crs).to_authority()
    terms = {"code": ":".join(code) if code else None, "wkt2": crs.to_wkt("WKT2_2019"), "vertical": vertical}
    name = Path(config["output"]).name
    write_json(out_item, stac_item(name, grid, terms, ring, records, files, ledger["points"]))
    write_json(out_manifest, manifest(config, records, files, ledger, _versions()))


def report_scene(
    products: str | Path,
    views: str | Path,
    plan: str | Path,
    residuals: str | Path,
    reference: str | Path | None,
    out_html: str | Path,
) -> None:
    """report.html of the files in the folder `products`, the adjusted views, the plan and the residual picture.

    With metrics.json there, `reference` is the DSM it speaks of, for the map of errors.
    """
    folder = Path(products)
    ledger, plans, manifested = (read_json(p) for p in (folder / "ledger.json", plan, folder / "manifest.json"))
    records, adjusted = read_views(views), read_json(views).get("adjustment")
    metrics = read_json(folder / "metrics.json") if (folder / "metrics.json").is_file() else None
    name = str(read_json(folder / "item.json")["id"])
    with opened(folder / "dsm.tif") as src:
        grid = grid_of(src.transform, (src.height, src.width), folder / "dsm.tif")
        crs = horizontal(pyproj.CRS.from_wkt(src.crs.to_wkt()))
        datum = src.tags()["VERTICAL_DATUM"]
    to_map = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    heights, step = read_small(folder / "dsm.tif", _HEIGHTS_SIDE)
    picture = Path(residuals).read_bytes() if Path(residuals).is_file() else None
    data = {
        "title": f"Surface model of {name}",
        "lead": f"{grid.width * grid.step:g} x {grid.height * grid.step:g} m, {crs.name}, heights above the {datum}",
        "cards": page.cards(ledger, records, grid.step, metrics),
        "layers": _layers(folder, reference, metrics),
        "heights": page.height_grid(heights, step),
        "profile": [[0.1, 0.5], [0.9, 0.5]],
        "views": page.view_rows(records, to_map, _ground(plans)),
        "tiles": page.tile_rows(ledger, plans),
        "pairs": page.pair_rows(plans),
        "adjustment": page.adjustment_rows(adjusted, picture),
        "metrics": metrics,
        "ledger": {k: ledger[k] for k in ("counts", "completeness")},
        "products": page.product_rows(manifested),
        "manifest": manifested,
    }
    write_text(out_html, page.render(data))


def _ground(plans: Mapping[str, Any]) -> float:
    heights = [t["ground_height"] for t in plans["tiles"] if t.get("ground_height") is not None]
    return float(np.median(heights)) if heights else 0.0


def _layers(folder: Path, reference: str | Path | None, metrics: Mapping[str, Any] | None) -> list[dict[str, str]]:
    """Name and picture of what can be laid over each other, the relief first."""
    heights, step = read_small(folder / "dsm.tif", _LAYER_SIDE)
    pictures = {"relief": relief(heights, step), "orthoimage": stretched(read_colour(folder / "ortho.tif", _LAYER_SIDE))}
    for layer in (SEMANTIC, STATUS):
        if (folder / f"{layer.name}.tif").is_file():
            pictures[layer.name] = page.class_picture(
                read_small(folder / f"{layer.name}.tif", _LAYER_SIDE, codes=True)[0], layer
            )
    if (folder / "ndsm.tif").is_file():
        pictures["above ground"] = ramp(read_small(folder / "ndsm.tif", _LAYER_SIDE)[0], 0.0, 25.0)
    if (folder / "uncertainty.tif").is_file():
        pictures["uncertainty, 0 to 2 m"] = ramp(read_small(folder / "uncertainty.tif", _LAYER_SIDE)[0], 0.0, 2.0)
    if reference is not None and metrics is not None and Path(reference).suffix.lower() not in SUFFIXES:
        shift = metrics.get("shift", {"dx": 0.0, "dy": 0.0, "dz": 0.0})
        truth = read_onto(reference, folder / "dsm.tif", heights.shape, (shift["dx"], shift["dy"]))
        pictures["error, blue -3 m to red +3 m"] = diverging(heights + shift["dz"] - truth, 3.0)
    return [{"name": name, "src": page.data_uri(encoded_picture(rgb, ".jpg"), "jpeg")} for name, rgb in pictures.items()]


def _versions() -> dict[str, str]:
    found = {}
    for name in _MATTERING:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional engine
    return found
