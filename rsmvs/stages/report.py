"""What people and catalogues see of a run: the preview, the STAC item with the manifest, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from rsmvs.config import build
from rsmvs.evaluation import report as page
from rsmvs.evaluation.catalogue import StoredBands, manifest, stac_item
from rsmvs.evaluation.pictures import diverging, relief, side_by_side, stretched
from rsmvs.geometry.vertical import ELLIPSOID, horizontal
from rsmvs.io.geoid import find_geoid
from rsmvs.io.manifests import read_json, write_json, write_text
from rsmvs.io.raster import band_names, grid_of, opened, read_colour, read_onto, read_small, write_picture
from rsmvs.io.timings import read_timings
from rsmvs.io.views import check_unchanged, read_views
from rsmvs.io.weights import RDM, read_card
from rsmvs.options import HeightsOptions
from rsmvs.stages.report_layers import LAYER_SIDE, WRONG, layers

PREVIEW_REVISION = 1
CATALOGUE_REVISION = 3
REPORT_REVISION = 4

_PREVIEW_SIDE = 1000  # pixels
_HEIGHTS_SIDE = 700
_MATTERING = ("numpy", "numba", "rasterio", "pyproj", "scipy", "opencv-python-headless", "laspy", "lazrs", "copclib",
              "bulldozer-dtm", "torch")  # fmt: skip


def picture_scene(dsm: str | Path, ortho: str | Path, out_png: str | Path) -> None:
    """The relief of the scene coloured by height, and the orthoimage beside it."""
    heights, step = read_small(dsm, _PREVIEW_SIDE)
    write_picture(out_png, side_by_side(relief(heights, step), stretched(read_colour(ortho, _PREVIEW_SIDE))))


def picture_difference(a: str | Path, b: str | Path, shift: Mapping[str, float], out_png: str | Path) -> None:
    """Heights of `a`, moved by the shift (m), less those of `b`: blue -3 m, white, red +3 m, grey where one is missing."""
    heights, _ = read_small(a, LAYER_SIDE)
    other = read_onto(b, a, heights.shape, (shift["dx"], shift["dy"]))
    write_picture(out_png, diverging(heights + shift["dz"] - other, WRONG))


def catalogue_scene(
    products: Sequence[str | Path], views: str | Path, config: Mapping[str, Any], out_item: str | Path, out_manifest: str | Path
) -> None:
    """item.json (STAC) and manifest.json of the files `products`, among them dsm.tif and ledger.json."""
    files = {Path(p).name: Path(p) for p in products}
    records, ledger = read_views(views), read_json(files["ledger.json"])
    for view in records:
        check_unchanged(view)  # the manifest tells the checksums of what was used
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
    stored = {n: _stored(path) for n, path in files.items() if path.suffix == ".tif"}
    write_json(out_item, stac_item(name, grid, terms, ring, records, files, ledger["points"], stored))
    told = manifest(config, records, files, ledger, _versions(), weights_of(config), files_of(config))
    write_json(out_manifest, told)


def files_of(config: Mapping[str, Any]) -> dict[str, Path]:
    """The files that a configuration (as plain values) names beside images and weights, by its keys; those that are there."""
    named = {f"reference.{key}": config["reference"][key] for key in ("dsm", "classes", "dtm", "dem")}
    named |= {"adjust.gcps": config["adjust"]["gcps"], "area.aoi_file": config["area"]["aoi_file"]}
    products = config["products"]
    if products["vertical"] != ELLIPSOID:
        named["products.geoid"] = find_geoid(products["vertical"], products["geoid"]).path
    for i, image in enumerate(config["images"]):
        named |= {f"images[{i}].{key}": image[key] for key in ("camera", "colour", "colour_camera")}
        named |= {f"images[{i}].masks[{k}]": path for k, path in enumerate(image["masks"])}
    return {key: Path(path) for key, path in named.items() if path and Path(path).is_file()}


def weights_of(config: Mapping[str, Any]) -> dict[str, Path]:
    """The files of weights that a configuration (as plain values) uses, by what for; nothing for models without.

    ManifestError where they are no longer those of their cards, which the tiles were made with.
    """
    heights = build(HeightsOptions, config["heights"], "heights")
    depth = config["rdm"]["model"]
    named = {
        "heights": heights.weights if heights.model != "sgm" else "none",
        "fuse.refine": config["fuse"]["refine"]["weights"],
        # a folder or a model of a hub: the tiles' indices hold its checksum
        "rdm": depth or RDM if heights.rdm and (not depth or depth.endswith(".safetensors")) else "none",
    }
    return {use: read_card(name, allow_random=True)[0] for use, name in named.items() if name != "none"}


def _stored(path: Path) -> StoredBands:
    with opened(path) as src:
        return StoredBands(band_names(src), src.dtypes[0], src.nodata)


def report_scene(
    products: str | Path,
    views: str | Path,
    plan: str | Path,
    residuals: str | Path | None,
    reference: str | Path | None,
    out_html: str | Path,
    logs: str | Path | None = None,
    out_timings: str | Path | None = None,
) -> None:
    """report.html of the files in the folder `products`, the adjusted views, the plan and the residuals.

    What the manifest does not name is no product of this run, though it may lie there. With metrics.json, `reference` is
    the surface it speaks of (raster or LAS), for the map of errors. The logs of the run tell how long its stages took: for
    the page, and for the file `out_timings`.
    """
    folder = Path(products)
    ledger, plans, manifested = (read_json(p) for p in (folder / "ledger.json", plan, folder / "manifest.json"))
    records, adjusted = read_views(views), read_json(views).get("adjustment")
    named = manifested["products"]
    metrics = read_json(folder / "metrics.json") if "metrics.json" in named else None
    name = str(read_json(folder / "item.json")["id"])
    with opened(folder / "dsm.tif") as src:
        grid = grid_of(src.transform, (src.height, src.width), folder / "dsm.tif")
        crs = horizontal(pyproj.CRS.from_wkt(src.crs.to_wkt()))
        datum = src.tags()["VERTICAL_DATUM"]
    to_map = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    heights, step = read_small(folder / "dsm.tif", _HEIGHTS_SIDE)
    data = {
        "title": f"Surface model of {name}",
        "lead": f"{grid.width * grid.step:g} x {grid.height * grid.step:g} m, {crs.name}, heights above the {datum}",
        "cards": page.cards(ledger, records, grid.step, metrics),
        "layers": layers(folder, named, reference, metrics),
        "heights": page.height_grid(heights, step),
        "profile": [[0.1, 0.5], [0.9, 0.5]],
        "views": page.view_rows(records, to_map, _ground(plans)),
        "tiles": page.tile_rows(ledger, plans, [v.id for v in records]),
        "pairs": page.pair_rows(plans),
        "adjustment": page.adjustment_rows(adjusted, read_json(residuals) if residuals is not None else None),
        "metrics": metrics,
        "ledger": {k: ledger[k] for k in ("counts", "completeness")},
        "products": page.product_rows(manifested),
        "manifest": manifested,
    }
    timings = read_timings(logs) if logs is not None else []
    if out_timings is not None:
        write_json(out_timings, {"revision": REPORT_REVISION, "stages": timings})
    write_text(out_html, page.render(data, timings))


def _ground(plans: Mapping[str, Any]) -> float:
    heights = [t["ground_height"] for t in plans["tiles"] if t.get("ground_height") is not None]
    return float(np.median(heights)) if heights else 0.0


def _versions() -> dict[str, str]:
    found = {}
    for name in _MATTERING:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional engine
    return found
