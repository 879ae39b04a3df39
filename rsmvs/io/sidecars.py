"""What product files beside an image tell of it: DIMAP's DIM_*.XML, Maxar's .IMD and .XML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from rsmvs.errors import CameraError
from rsmvs.io.rpc_keys import text_of
from rsmvs.io.rpc_xml import parsed

# Our name -> the keys under which DIMAP (any version) and Maxar have it; the first that is there counts.
_KEYS = {
    "level": ("GEOMETRIC_PROCESSING", "PROCESSING_LEVEL", "productLevel", "PRODUCTLEVEL"),
    "cloud": ("CLOUD_COVERAGE", "CLOUD_COVER", "cloudCover", "CLOUDCOVER"),
    "spectral": ("SPECTRAL_PROCESSING", "bandId", "BANDID"),
    "day": ("IMAGING_DATE", "firstLineTime", "FIRSTLINETIME", "earliestAcqTime", "EARLIESTACQTIME"),
    "time": ("IMAGING_TIME",),
    "sun_azimuth": ("SUN_AZIMUTH", "meanSunAz", "MEANSUNAZ"),
    "sun_elevation": ("SUN_ELEVATION", "meanSunEl", "MEANSUNEL"),
}


class Sidecar(NamedTuple):
    """path: of the file; values: by the names of `_KEYS`, as text."""

    path: str
    values: dict[str, str]


def read_sidecar(image: str | Path) -> Sidecar | None:
    """Metadata of the product file beside an image; None where there is none that can be read."""
    image = Path(image)
    if str(image).startswith("/vsi") or not image.parent.is_dir():
        return None
    stem = image.stem.lower()
    dimap = re.sub(r"_r\d+c\d+$", "", re.sub("^img_", "dim_", stem))
    wanted = [name for name in (f"{dimap}.xml", f"{stem}.imd", f"{stem}.xml") if name != f"{stem}.xml" or stem != dimap]
    files = {f.name.lower(): f for f in sorted(image.parent.iterdir()) if f.is_file()}
    for name in dict.fromkeys([*wanted, f"{stem}.xml"]):
        file = files.get(name)
        found = _read(file) if file is not None and file != image else {}
        if found:
            return Sidecar(str(file), found)
    return None


def _read(file: Path) -> dict[str, str]:
    if file.suffix.lower() == ".imd":
        pairs = re.findall(r"^\s*(\w+)\s*=\s*\"?([^;\"\r\n]*)", text_of(file), re.MULTILINE)
        return _named({k: v.strip() for k, v in reversed(pairs)})
    try:
        root = parsed(file)
    except CameraError:
        return {}  # some other XML: the camera readers complain where it is meant to be a camera
    if root.find(".//IMD") is None and root.tag != "Dimap_Document":
        return {}
    return _named(_texts(root) | _texts(_centre(root)))


def _centre(root: Element) -> Element | None:
    """DIMAP gives angles at several places of the image: those of the centre count."""
    places = root.findall(".//Located_Geometric_Values")
    return next((p for p in places if (p.findtext("LOCATION_TYPE") or "").lower() == "center"), None)


def _texts(root: Element | None) -> dict[str, str]:
    nodes = [] if root is None else [n for n in root.iter() if n.text and n.text.strip()]
    return {n.tag: n.text.strip() for n in reversed(nodes) if n.text}  # the first of a name counts


def _named(keys: dict[str, str]) -> dict[str, str]:
    found = {name: next((keys[k] for k in keys_of if k in keys), "") for name, keys_of in _KEYS.items()}
    return {name: value for name, value in found.items() if value}
