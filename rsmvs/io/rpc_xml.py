"""RPC camera files in XML form: DIMAP v1, v2, v3 (Airbus) and the RPB block of Maxar's metadata.

Pixel origin, by profile (GDAL's issue 5716, PR 7653):
    DIMAP v1 and v2 (SPOT, Pleiades, SPOT 6/7)   the centre of the first pixel is (1, 1)
    DIMAP v3 (Pleiades Neo)                      the centre of the first pixel is (0, 0)
    Maxar XML                                    the centre of the first pixel is (0, 0)
The model speaks of the whole product. Where a product comes in tiles (`..._R2C1.TIF`), a tile's camera is that of the
product shifted by the tiles before it, whose size stands in the product's DIM_*.XML.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rsmvs.errors import CameraError
from rsmvs.geometry.rpc import RPC
from rsmvs.io.rpc_keys import RPC00B, rpc_from_keys, text_of

_MAXAR = {
    "col_off": "SAMPOFFSET", "row_off": "LINEOFFSET", "lon_off": "LONGOFFSET", "lat_off": "LATOFFSET", "h_off": "HEIGHTOFFSET",
    "col_scale": "SAMPSCALE", "row_scale": "LINESCALE", "lon_scale": "LONGSCALE", "lat_scale": "LATSCALE",
    "h_scale": "HEIGHTSCALE",
    "col_num": "SAMPNUMCOEF", "col_den": "SAMPDENCOEF", "row_num": "LINENUMCOEF", "row_den": "LINEDENCOEF",
}  # fmt: skip
_DIMAP1 = {"col": "Col", "row": "Row", "lon": "Lon", "lat": "Lat", "h": "Alt"}


def read_rpc_xml(path: str | Path) -> RPC:
    """RPC of a DIMAP RPC_*.XML (or the DIM_*.XML beside it), or of Maxar's XML. Only the ground-to-image model is used."""
    root = parsed(path)
    if root.find(".//RPB/IMAGE") is not None:
        return rpc_from_keys(_texts(root.find(".//RPB/IMAGE")), _MAXAR, path)
    rfm = root.find(".//Global_RFM")
    if rfm is None:
        beside = Path(path).with_name(re.sub("^DIM_", "RPC_", Path(path).name))
        if beside != Path(path) and beside.is_file():
            return read_rpc_xml(beside)
        raise CameraError(path, "holds no RPC (neither Global_RFM nor RPB)", "name the product's RPC_*.XML")
    if rfm.find("F_COL") is not None:
        return _dimap1(rfm, path)
    model = rfm.find("GroundtoImage_Values")
    model = rfm.find("Inverse_Model") if model is None else model
    if model is None:
        raise CameraError(path, "lacks key 'Inverse_Model' (or 'GroundtoImage_Values')", "get an intact camera file")
    # Both models of v2 use the same key names: only the one found above may be looked at.
    keys = _texts(rfm.find("RFM_Validity")) | _texts(model)
    return rpc_from_keys(keys, RPC00B, path, origin=0.0 if _version(root) >= 3 else 1.0)


def tile_offset(image: str | Path, xml: str | Path) -> tuple[float, float]:
    """(col, row) in the product of pixel (0, 0) of a tile `..._R<row>C<col>.<ext>` of a DIMAP product."""
    found = re.search(r"_R(\d+)C(\d+)\.\w+$", Path(image).name, re.IGNORECASE)
    if found is None or found[1] == found[2] == "1":
        return 0.0, 0.0
    dim = Path(xml).with_name(re.sub("^RPC_", "DIM_", Path(xml).name))
    size = parsed(dim).find(".//Regular_Tiling/NTILES_SIZE") if dim.is_file() else None
    if size is None:
        cause = f"is a tile of a product, and its tile size is not in {dim.name}"
        raise CameraError(image, cause, "put the product's DIM_*.XML beside its RPC_*.XML")
    return (int(found[2]) - 1) * float(size.attrib["ncols"]), (int(found[1]) - 1) * float(size.attrib["nrows"])


def parsed(path: str | Path) -> Element:
    """Root of an XML file, without namespaces."""
    try:
        root = ElementTree.fromstring(text_of(path).lstrip("\ufeff \r\n\t"))
    except (ElementTree.ParseError, ValueError) as error:
        raise CameraError(path, f"is not valid XML ({error})", "get an intact camera file") from None
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    return root


def _version(root: Element) -> float:
    """DIMAP version. Some v3 files call the document 1.2 or 2.x: the sensor's profile is the safer sign."""
    form = root.find(".//Metadata_Identification/METADATA_FORMAT")
    profile = (root.findtext(".//Metadata_Identification/METADATA_PROFILE") or "").upper()
    if profile.startswith("PNEO") or root.find(".//Global_RFM/GroundtoImage_Values") is not None:
        return 3.0
    try:
        return float((form.attrib if form is not None else root.attrib).get("version", "2.0"))
    except ValueError:
        return 2.0


def _dimap1(rfm: Element, path: object) -> RPC:
    """DIMAP v1: normalisation as `Lon/A` (scale) and `Lon/B` (offset), forty coefficients in F_COL and in F_ROW."""
    keys, names = {}, {}
    for ours, theirs in _DIMAP1.items():
        for part, letter in (("scale", "A"), ("off", "B")):
            names[f"{ours}_{part}"] = key = f"{theirs}/{letter}"
            text = rfm.findtext(f".//RFM_Validity/{key}")
            text = rfm.findtext(f".//{key}") if text is None else text
            if text is not None:
                keys[key] = text
    for ours, theirs in (("col", "F_COL"), ("row", "F_ROW")):
        terms = (rfm.findtext(theirs) or "").split()
        if len(terms) != 40:
            raise CameraError(path, f"key '{theirs}' has {len(terms)} coefficients, not 40", "get an intact camera file")
        for part, coefs in (("num", terms[:20]), ("den", terms[20:])):
            names[f"{ours}_{part}"] = f"{theirs}.{part}"
            keys[f"{theirs}.{part}"] = " ".join(coefs)
    return rpc_from_keys(keys, names, path, origin=1.0)


def _texts(node: Element | None) -> dict[str, str]:
    return {} if node is None else {n.tag: n.text.strip() for n in node.iter() if n.text and n.text.strip()}
