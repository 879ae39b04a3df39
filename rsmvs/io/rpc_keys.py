"""From the keys of a camera file to an RPC, with errors in the file's own words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC

# Our name -> the stem of the key in the two naming families of the formats.
RPC00B = {
    "col_off": "SAMP_OFF", "row_off": "LINE_OFF", "lon_off": "LONG_OFF", "lat_off": "LAT_OFF", "h_off": "HEIGHT_OFF",
    "col_scale": "SAMP_SCALE", "row_scale": "LINE_SCALE", "lon_scale": "LONG_SCALE", "lat_scale": "LAT_SCALE",
    "h_scale": "HEIGHT_SCALE",
    "col_num": "SAMP_NUM_COEFF", "col_den": "SAMP_DEN_COEFF", "row_num": "LINE_NUM_COEFF", "row_den": "LINE_DEN_COEFF",
}  # fmt: skip
RPB = {
    "col_off": "sampOffset", "row_off": "lineOffset", "lon_off": "longOffset", "lat_off": "latOffset",
    "h_off": "heightOffset", "col_scale": "sampScale", "row_scale": "lineScale", "lon_scale": "longScale",
    "lat_scale": "latScale", "h_scale": "heightScale",
    "col_num": "sampNumCoef", "col_den": "sampDenCoef", "row_num": "lineNumCoef", "row_den": "lineDenCoef",
}  # fmt: skip


def rpc_from_keys(
    keys: Mapping[str, str],
    names: Mapping[str, str],
    where: object,
    origin: float = 0.0,
    counted: str = "{}_{}",
    first: int = 1,
) -> RPC:
    """RPC from text values.

    names: our name -> key; a polynomial's key holds its twenty coefficients, or they stand under key_1 ... key_20
    (`counted` is the pattern of those keys, `first` the first number). origin: what the format calls the centre of the
    first pixel; our frame calls it 0.
    """

    def number(key: str, text: str | None) -> float:
        if text is None:
            raise CameraError(where, f"key '{key}' is missing", "check that the camera file is complete")
        try:
            value = float(text.upper().replace("D", "E"))  # some ground segments write Fortran exponents
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise CameraError(where, f"key '{key}' is {text.strip()!r}, not a finite number", "get an intact camera file")
        return value

    values: dict[str, object] = {}
    for ours, key in names.items():
        if not ours.endswith(("num", "den")):
            text = keys.get(key)
            values[ours] = number(key, text.split()[0] if text and text.split() else text)  # a unit may follow
        elif key in keys:
            terms = keys[key].replace(",", " ").split()
            if len(terms) != 20:
                raise CameraError(where, f"key '{key}' has {len(terms)} coefficients, not 20", "get an intact camera file")
            values[ours] = np.array([number(f"{key}[{i}]", t) for i, t in enumerate(terms, 1)])
        else:
            terms = [counted.format(key, i) for i in range(first, first + 20)]
            values[ours] = np.array([number(term, keys.get(term)) for term in terms])
    return RPC.from_dict(values, where).shifted(origin, origin)


def text_of(path: str | Path) -> str:
    """Content of a camera file, whatever its encoding."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise CameraError(path, "does not exist", "check the camera path in the configuration") from None
    except OSError as error:
        raise CameraError(path, f"cannot be read ({error.strerror})", "check the camera path in the configuration") from None
