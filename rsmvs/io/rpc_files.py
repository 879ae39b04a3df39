"""Finding and reading the camera of an image, whoever made it.

The project's frame: integer pixel = centre, (0, 0) = centre of the upper-left pixel of the image file. Each format's
own pixel origin is documented, and converted, in the module that reads it: rpc_text, rpc_xml, rpc_tags, pinhole_files.

Precedence, for each image: the file named in the configuration; then files beside the image, which somebody put there
on purpose, in the order of `_BESIDE`; then what the image carries inside (GeoTIFF tags, NITF TREs).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC
from rsmvs.io.pinhole_files import read_whu_pinhole
from rsmvs.io.rpc_keys import text_of
from rsmvs.io.rpc_tags import rpc_from_tags, tags_from_rpc
from rsmvs.io.rpc_text import read_geom, read_json_camera, read_rpb, read_rpc_txt
from rsmvs.io.rpc_xml import read_rpc_xml, tile_offset
from rsmvs.types import Camera

__all__ = ["camera_format", "find_camera", "find_cameras", "read_camera", "rpc_from_tags", "tags_from_rpc"]

GEOM, TXT, RPB, XML, JSON, PINHOLE = "OSSIM .geom", "RPC text", "RPB", "RPC XML", "JSON", "WHU-MVS pinhole"
# Patterns of names beside `<stem>.tif`, compared without regard to case. DIMAP names its image IMG_x and its RPC RPC_x.
_BESIDE = (
    "{stem}.geom", "{stem}_rpc.txt", "{stem}.rpb", "{stem}.rpc", "{dimap}.xml", "{stem}.xml", "{stem}.json", "{stem}.txt",
)  # fmt: skip
_SIGNS = {
    RPB: r"^\s*(lineOffset|BEGIN_GROUP)\s*=",
    GEOM: r"^\s*line_off\s*:",
    TXT: r"^\s*LINE_OFF\s*[:=]",
    PINHOLE: r"\A\s*(extrinsic\s+)?([-+.\deE]+\s+){16}",
}


def camera_format(path: str | Path) -> str | None:
    """Which of the known formats a file's content is; None for anything else."""
    text = text_of(path).lstrip("\ufeff \r\n\t")
    if text.startswith("<"):
        return XML if "Global_RFM" in text or "<RPB>" in text else None
    if text.startswith("{"):
        return JSON if re.search(r'"(row_num|LINE_NUM_COEFF|kind)"', text) else None
    for form, sign in _SIGNS.items():
        if re.search(sign, text, re.MULTILINE if form != PINHOLE else 0):
            return form
    return None


def read_camera(path: str | Path) -> Camera:
    """Camera of a file in any known format, of the image it speaks of (a crop or a tile needs `find_camera`)."""
    form = camera_format(path)
    if form is None and Path(path).suffix.lower() == ".xml":
        form = XML  # a DIM_*.XML points to its RPC_*.XML; otherwise the reader names what is missing
    readers = {
        GEOM: read_geom, TXT: read_rpc_txt, RPB: read_rpb, XML: read_rpc_xml, JSON: read_json_camera, PINHOLE: read_whu_pinhole,
    }  # fmt: skip
    if form is None:
        raise CameraError(path, "is of no known camera format", f"give one of: {', '.join(readers)}")
    return readers[form](path)  # type: ignore[operator]


def find_camera(path: str, dataset: Any, camera_file: str | None = None) -> tuple[Camera, str]:
    """Camera of an opened image, and where it was found."""
    for camera, source in find_cameras(path, dataset, camera_file):
        return camera, source
    raise CameraError(
        path, "has no camera (no RPC inside, no camera file beside it)", "put its camera file beside it, or name it as 'camera'"
    )


def find_cameras(path: str, dataset: Any, camera_file: str | None = None) -> Iterator[tuple[Camera, str]]:
    """All cameras of an opened image with their sources, best first."""
    if camera_file is not None:
        yield _of_file(camera_file, path, dataset)
    for beside in _beside(path):
        yield _of_file(beside, path, dataset)
    if dataset.rpcs is not None:
        kind = "RPC tags" if dataset.driver == "GTiff" else f"{dataset.driver} RPC metadata"
        yield rpc_from_tags(dataset.rpcs, path), f"{path} ({kind})"


def _beside(path: str) -> list[str]:
    folder, name = Path(path).parent, Path(path).stem.lower()
    if path.startswith("/vsi") or not folder.is_dir():
        return []
    files = {f.name.lower(): f for f in sorted(folder.iterdir()) if f.is_file()}
    dimap = re.sub(r"_r\d+c\d+$", "", re.sub("^img_", "rpc_", name))
    names = dict.fromkeys(pattern.format(stem=name, dimap=dimap) for pattern in _BESIDE)
    found = (files.get(n) for n in names)
    return [str(f) for f in found if f is not None and f != Path(path) and camera_format(f) is not None]


def _of_file(file: str, path: str, dataset: Any) -> tuple[Camera, str]:
    camera, form = read_camera(file), camera_format(file) or XML
    if form == XML:
        camera = camera.shifted(*tile_offset(path, file))
    dcol, drow = crop_offset(dataset)
    if (dcol, drow) == (0.0, 0.0) or not (form == GEOM or _of_full_image(camera, dataset)):
        return camera, f"{file} ({form})"
    return camera.shifted(dcol, drow), f"{file} ({form}, crop at {dcol:g}, {drow:g})"


def crop_offset(dataset: Any) -> tuple[float, float]:
    """Place of a crop in its full image, which OTB and OSSIM write as GeoTIFF origin with unit pixels.

    The origin is the upper-left *corner* of the crop in the full image's corner coordinates; as both frames are
    moved by half a pixel, the crop's pixel centre (0, 0) is at the same numbers in the full image's centre coordinates.
    """
    t = dataset.transform
    return (t.c, t.f) if (t.a, abs(t.e), t.b, t.d) == (1.0, 1.0, 0.0, 0.0) else (0.0, 0.0)


def _of_full_image(camera: Camera, dataset: Any) -> bool:
    """Whether a camera file beside a crop speaks of the full image: then the crop lies in the model's range of pixels.

    A .geom always does. The camera of the crop itself has a range about as large as the crop, far from its offset.
    """
    if not isinstance(camera, RPC):
        return False
    centre = (o + n / 2 for o, n in zip(crop_offset(dataset), (dataset.width, dataset.height), strict=True))
    return all(abs(c - o) <= s for c, o, s in zip(centre, camera.offsets[:2], camera.scales[:2], strict=True))
