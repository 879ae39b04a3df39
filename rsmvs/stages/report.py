"""What people and catalogues see of a run: the preview, the STAC item with the manifest, and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pyproj

from rsmvs.evaluation.catalogue import manifest, stac_item
from rsmvs.evaluation.pictures import grey, relief, side_by_side
from rsmvs.geometry.vertical import horizontal
from rsmvs.io.manifests import read_json, write_json
from rsmvs.io.raster import grid_of, opened, read_small, write_picture
from rsmvs.io.views import read_views

PREVIEW_REVISION = 1
CATALOGUE_REVISION = 1

_PREVIEW_SIDE = 1000  # pixels
_MATTERING = ("numpy", "numba", "rasterio", "pyproj", "scipy", "opencv-python-headless", "laspy", "lazrs", "copclib",
              "bulldozer-dtm", "torch")  # fmt: skip


def picture_scene(dsm: str | Path, ortho: str | Path, out_png: str | Path) -> None:
    """The relief of the scene coloured by height, and the orthoimage beside it."""
    heights, step = read_small(dsm, _PREVIEW_SIDE)
    image, _ = read_small(ortho, _PREVIEW_SIDE)
    write_picture(out_png, side_by_side(relief(heights, step), grey(image)))


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


def _versions() -> dict[str, str]:
    found = {}
    for name in _MATTERING:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # an optional engine
    return found
