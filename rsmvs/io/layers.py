"""The raster products of a scene: what each band means, how it is stored, and the names and colours of codes."""

from __future__ import annotations

from dataclasses import dataclass

from rsmvs.types import CLASS_CODES, CLASS_NAMES

NODATA = -9999.0
SIDE_SUFFIX = ".aux.xml"  # added to the name of a raster of codes: their names, for GDAL


@dataclass(frozen=True)
class Code:
    """One value of a raster of codes."""

    value: int
    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Layer:
    """What a raster product holds and how it is stored. resampling: of the overviews ('mode' for codes)."""

    name: str
    band: str
    unit: str
    dtype: str
    nodata: float | None
    resampling: str = "average"
    codes: tuple[Code, ...] = ()
    meaning: str = ""
    tile_product: str = ""  # name in the tiles' ledgers where it differs

    @property
    def in_tiles(self) -> str:
        return self.tile_product or self.name


_CLASS_COLOURS = ((168, 132, 96), (76, 150, 68), (200, 70, 60), (70, 130, 200), (120, 120, 130), (190, 180, 160))

DSM = Layer("dsm", "height", "m", "float32", NODATA, meaning="surface height")
N_VIEWS = Layer("n_views", "agreeing views", "count", "uint8", None, "nearest", meaning="views that agree on the height")
CONFIDENCE = Layer("confidence", "confidence", "1", "float32", NODATA, meaning="confidence in the height, 0 to 1")
ORTHO = Layer("ortho", "panchromatic", "digital number", "uint16", 0.0, meaning="orthoimage")
UNCERTAINTY = Layer(
    "uncertainty", "standard deviation", "m", "float32", NODATA, meaning="one sigma of the height", tile_product="sigma"
)
SEMANTIC = Layer(
    "semantic", "class", "code", "uint8", 0.0, "mode",
    tuple(Code(c, n, rgb) for c, n, rgb in zip(CLASS_CODES, CLASS_NAMES, _CLASS_COLOURS, strict=True)), "class, ASPRS codes",
)  # fmt: skip
MARGIN = Layer("vote_margin", "vote margin", "1", "float32", NODATA, meaning="share of votes of the class less the next one's")
VOTES = Layer("class_votes", "votes", "count", "uint8", 0.0, "nearest", meaning="views that voted for a class")
STATUS = Layer(
    "status", "status", "code", "uint8", None, "mode",
    (
        Code(0, "height", (62, 130, 90)),
        Code(1, "no agreeing views", (240, 190, 80)),
        Code(2, "tile without usable views", (160, 160, 170)),
        Code(3, "tile failed", (200, 50, 50)),
        Code(4, "outside the tiles", (235, 235, 235)),
    ),
    "why a cell is empty",
)  # fmt: skip
DSM_FILLED = Layer("dsm_filled", "height", "m", "float32", NODATA, meaning="surface height, holes filled")
FILLING = Layer(
    "filling", "filling", "code", "uint8", None, "mode",
    (
        Code(0, "measured", (62, 130, 90)),
        Code(1, "interpolated", (240, 190, 80)),
        Code(2, "terrain model", (150, 110, 190)),
        Code(3, "none", (235, 235, 235)),
    ),
    "where the heights of dsm_filled come from",
)  # fmt: skip
DTM = Layer("dtm", "terrain height", "m", "float32", NODATA, meaning="height of the bare ground")
NDSM = Layer("ndsm", "height above ground", "m", "float32", NODATA, meaning="surface height less terrain height")

MOSAICKED = (DSM, N_VIEWS, CONFIDENCE, ORTHO, UNCERTAINTY)  # of every scene
CLASSIFIED = (SEMANTIC, VOTES, MARGIN)  # of scenes whose matcher gives classes
DERIVED = (DSM_FILLED, FILLING, DTM, NDSM)
ALL = (*MOSAICKED, *CLASSIFIED, STATUS, *DERIVED)
SIDE_FILES = {f"{v.name}.tif{SIDE_SUFFIX}": f"names of the codes of {v.name}.tif, for GDAL and QGIS" for v in ALL if v.codes}
