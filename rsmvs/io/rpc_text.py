"""RPC camera files in text form: _RPC.TXT, WHU .rpc, .RPB, OSSIM .geom, rpcm and s2p JSON.

Pixel origin. All of them count the centre of the first pixel as 0, as we do (RPC00B's rule); what differs is the
image that they speak of: a .geom speaks of the full image, the others of the file beside them (see rpc_files).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rsmvs.errors import CameraError
from rsmvs.geometry.pinhole import Pinhole
from rsmvs.geometry.rpc import RPC
from rsmvs.io.manifests import atomic, write_json
from rsmvs.io.rpc_keys import RPB, RPC00B, rpc_from_keys, text_of
from rsmvs.types import Camera

_UNITS = {"SAMP": "pixels", "LINE": "pixels", "LONG": "degrees", "LAT": "degrees", "HEIGHT": "meters"}
_RPCM = {
    "col_off": "col_offset", "row_off": "row_offset", "lon_off": "lon_offset", "lat_off": "lat_offset", "h_off": "alt_offset",
    "col_scale": "col_scale", "row_scale": "row_scale", "lon_scale": "lon_scale", "lat_scale": "lat_scale",
    "h_scale": "alt_scale", "col_num": "col_num", "col_den": "col_den", "row_num": "row_num", "row_den": "row_den",
}  # fmt: skip


def read_rpc_txt(path: str | Path) -> RPC:
    """_RPC.TXT (IKONOS form, `KEY: value [unit]`), and WHU .rpc, which appends the 80 coefficients of the inverse model.

    The inverse is not used: ours is exact (Newton's method), theirs a fit.
    """
    pairs = re.findall(r"^[ \t]*([A-Za-z]\w*)[ \t]*[:=][ \t]*([^\r\n]*)", text_of(path), re.MULTILINE)
    keys = {k.upper(): v.split()[0] if v.split() else "" for k, v in pairs}
    return rpc_from_keys(keys, RPC00B, path)


def write_rpc_txt(path: str | Path, rpc: RPC) -> None:
    """_RPC.TXT at full precision (shortest exact floats): read by GDAL, QGIS, ASP, OTB."""
    values = rpc.to_dict()
    scalars = [f"{RPC00B[k]}: {values[k]!r} {_UNITS[RPC00B[k].split('_')[0]]}" for k in _TXT_ORDER[:10]]
    coefs = [f"{RPC00B[k]}_{i}: {c!r}" for k in _TXT_ORDER[10:] for i, c in enumerate(values[k], 1)]
    with atomic(path) as part:
        part.write_text("\n".join(scalars + coefs) + "\n")


# The order in which readers that count lines (WHU) expect the keys.
_TXT_ORDER = (
    "row_off", "col_off", "lat_off", "lon_off", "h_off", "row_scale", "col_scale", "lat_scale", "lon_scale", "h_scale",
    "row_num", "row_den", "col_num", "col_den",
)  # fmt: skip


def read_rpb(path: str | Path) -> RPC:
    """.RPB (DigitalGlobe, Maxar; also Chinese ground segments): `key = value;`, coefficients as `( a, b, ... );`."""
    pairs = re.findall(r"(\w+)[ \t]*=\s*(\([^)]*\)|[^;\r\n]*)", text_of(path))
    return rpc_from_keys({k: v.strip("() \t\r\n;\"") for k, v in pairs}, RPB, path)


def read_geom(path: str | Path) -> RPC:
    """OSSIM .geom (`key: value`), of the full image; `crop_offset` in rpc_files tells what to do for a crop."""
    pairs = re.findall(r"^[ \t]*([\w.]+)[ \t]*:[ \t]*(\S+)", text_of(path), re.MULTILINE)
    keys = dict(pairs)
    polynomial = keys.get("polynomial_format", "B")
    if polynomial != "B":
        raise CameraError(path, f"has polynomial_format {polynomial}, another order of terms", "export it as RPC00B")
    names = {ours: theirs.lower() for ours, theirs in RPC00B.items()}
    return rpc_from_keys(keys, names, path, counted="{}_{:02d}", first=0)


def read_json_camera(path: str | Path) -> Camera:
    """JSON of rpcm (`row_offset` ...), of s2p (`LINE_OFF` ..., under "rpc" or not), or our own form."""
    try:
        values = json.loads(text_of(path))
        values = values.get("rpc", values.get("camera", values))
        found = {str(k): " ".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in values.items()}
    except (json.JSONDecodeError, AttributeError):
        raise CameraError(path, "is no JSON camera", "give rpcm's JSON, or a dictionary of LINE_OFF, SAMP_OFF, ...") from None
    if values.get("kind") == Pinhole.kind:
        return Pinhole.from_dict(values, path)
    if values.get("kind") == RPC.kind:
        return RPC.from_dict(values, path)
    return rpc_from_keys(found, RPC00B if "LINE_OFF" in found else _RPCM, path)


def rpcm_dict(rpc: RPC) -> dict[str, Any]:
    """The form of rpcm's RPCModel, dict_format="rpcm"."""
    values = rpc.to_dict()
    return {theirs: values[ours] for ours, theirs in _RPCM.items()}


def write_rpcm_json(path: str | Path, rpc: RPC) -> None:
    """rpcm's JSON at full precision."""
    write_json(path, rpcm_dict(rpc))
