"""Vendor camera files, each with its pixel-origin rule in one place.

The project's frame: integer pixel = centre, (0, 0) = centre of the upper-left pixel of the image file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC
from rsmvs.types import Camera

_GEOM_SCALARS = {
    "col_off": "samp_off", "row_off": "line_off", "lon_off": "long_off", "lat_off": "lat_off", "h_off": "height_off",
    "col_scale": "samp_scale", "row_scale": "line_scale", "lon_scale": "long_scale", "lat_scale": "lat_scale",
    "h_scale": "height_scale",
}  # fmt: skip
_GEOM_POLYNOMIALS = {"col_num": "samp_num", "col_den": "samp_den", "row_num": "line_num", "row_den": "line_den"}


def find_camera(path: str, dataset: Any, camera_file: str | None = None) -> tuple[Camera, str]:
    """Camera of an opened image and where it was found.

    Precedence: the named file, then a .geom beside the image, then the RPC tags inside it.
    """
    beside = Path(path).with_suffix(".geom")
    if camera_file is None and beside.is_file():
        camera_file = str(beside)
    if camera_file is not None:
        # OTB/OSSIM: the camera speaks of the full image; a crop carries its offset as GeoTIFF origin with unit pixels.
        # Origin = the upper-left *corner* in full-image corner coordinates, so centre (0, 0) is at the same number.
        return read_geom(camera_file).shifted(*_crop_offset(dataset)), camera_file
    if dataset.rpcs is not None:
        return rpc_from_tags(dataset.rpcs, path), f"{path} (RPC tags)"
    raise CameraError(path, "has no camera (no RPC tags, no .geom beside it)", "put its camera file beside it, or name it as 'camera'")


def rpc_from_tags(tags: Any, where: object) -> RPC:
    """GDAL's RPC metadata. GDAL and the GeoTIFF tag take (0, 0) as the centre of the upper-left pixel, as we do."""
    values = {
        "col_off": tags.samp_off, "row_off": tags.line_off, "lon_off": tags.long_off, "lat_off": tags.lat_off,
        "h_off": tags.height_off, "col_scale": tags.samp_scale, "row_scale": tags.line_scale,
        "lon_scale": tags.long_scale, "lat_scale": tags.lat_scale, "h_scale": tags.height_scale,
        "col_num": tags.samp_num_coeff, "col_den": tags.samp_den_coeff,
        "row_num": tags.line_num_coeff, "row_den": tags.line_den_coeff,
    }  # fmt: skip
    return RPC.from_dict(values, where)


def tags_from_rpc(rpc: RPC) -> Any:
    """GDAL's RPC metadata of a camera, for rasterio datasets."""
    from rasterio.rpc import RPC as Tags

    off, scale, poly = rpc.offsets.tolist(), rpc.scales.tolist(), rpc.poly.tolist()
    return Tags(
        height_off=off[4], height_scale=scale[4], lat_off=off[3], lat_scale=scale[3], line_den_coeff=poly[3],
        line_num_coeff=poly[2], line_off=off[1], line_scale=scale[1], long_off=off[2], long_scale=scale[2],
        samp_den_coeff=poly[1], samp_num_coeff=poly[0], samp_off=off[0], samp_scale=scale[0],
    )  # fmt: skip


def read_geom(path: str | Path) -> RPC:
    """OSSIM .geom (key: value lines), pixel centres counted from 0 in the full image."""
    try:
        pairs = re.findall(r"^[ \t]*([\w.]+)[ \t]*:[ \t]*(\S+)", Path(path).read_text(errors="replace"), re.MULTILINE)
    except FileNotFoundError:
        raise CameraError(path, "does not exist", "check the camera path in the configuration") from None
    keys = dict(pairs)

    def number(key: str) -> float:
        try:
            return float(keys[key])
        except (KeyError, ValueError):
            raise CameraError(path, f"key '{key}' is missing or no number", "check the camera file") from None

    values: dict[str, Any] = {ours: number(theirs) for ours, theirs in _GEOM_SCALARS.items()}
    for ours, theirs in _GEOM_POLYNOMIALS.items():
        values[ours] = np.array([number(f"{theirs}_coeff_{i:02d}") for i in range(20)])
    return RPC.from_dict(values, path)


def _crop_offset(dataset: Any) -> tuple[float, float]:
    t = dataset.transform
    return (t.c, t.f) if (t.a, abs(t.e), t.b, t.d) == (1.0, 1.0, 0.0, 0.0) else (0.0, 0.0)
