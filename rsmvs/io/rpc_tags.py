"""RPC metadata of images, as GDAL has it: GeoTIFF tags, NITF TREs, anything that a GDAL driver understands.

Pixel origin: GDAL and the GeoTIFF tag take (0, 0) as the centre of the upper-left pixel, as we do. GDAL's own
transformer answers in corner coordinates, half a pixel more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rasterio
from rasterio.shutil import copy as copy_raster
from rasterio.transform import Affine

from rsmvs.geometry.rpc import RPC
from rsmvs.io.manifests import atomic
from rsmvs.io.raster import opened
from rsmvs.io.rpc_keys import RPC00B, rpc_from_keys


def rpc_from_tags(tags: Any, where: object) -> RPC:
    """RPC of rasterio's `dataset.rpcs`."""
    values = {k.upper(): v for k, v in tags.to_dict().items() if v is not None}
    keys = {k: " ".join(map(repr, v)) if isinstance(v, list) else repr(v) for k, v in values.items()}
    return rpc_from_keys(keys, RPC00B, where)


def tags_from_rpc(rpc: RPC) -> Any:
    """rasterio's form of a camera, to be set as `dataset.rpcs`."""
    from rasterio.rpc import RPC as Tags

    values = rpc.to_dict()
    fields = {theirs.lower(): values[ours] for ours, theirs in RPC00B.items()}
    return Tags(**fields)


def write_tagged_image(source: str | Path, path: str | Path, rpc: RPC) -> None:
    """A GeoTIFF copy of an image with this camera in its RPC tags, at full precision: for QGIS, CARS, s2p, ASP.

    What would contradict the camera is dropped: a crop's offset as origin, another RPC.
    """
    with opened(source), atomic(path) as part:
        copy_raster(str(source), part, driver="GTiff", tiled=True, compress="DEFLATE", PROFILE="GDALGeoTIFF")
        with rasterio.open(part, "r+") as dst:
            dst.transform = Affine.identity()
            dst.rpcs = tags_from_rpc(rpc)
