"""The CRS of the products: the project's horizontal CRS with its vertical part spelled out.

Heights are ellipsoidal metres inside the pipeline. A plain EPSG:32637 says nothing of heights, and readers then guess
(usually mean sea level, tens of metres off): every product carries a 3-D or compound CRS instead.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyproj

from rsmvs.errors import ConfigError

ELLIPSOID = "ellipsoid"
# EPSG codes of the vertical CRS whose heights are gravity-related; ellipsoidal heights make the CRS itself 3-D.
VERTICAL_CRS = {"egm96": 5773, "egm2008": 3855}
DATUMS = (ELLIPSOID, *VERTICAL_CRS)
DATUM_NAMES = {ELLIPSOID: "WGS 84 ellipsoid", "egm96": "EGM96 geoid", "egm2008": "EGM2008 geoid"}


@lru_cache(maxsize=32)
def product_crs(horizontal: str, datum: str = ELLIPSOID) -> Any:
    """pyproj CRS of products in `horizontal` (EPSG:32637) with heights above `datum`, one of DATUMS.

    Errors: ConfigError when `horizontal` is no projected CRS in metres, or the datum is unknown.
    """
    try:
        crs = pyproj.CRS.from_user_input(horizontal)
    except pyproj.exceptions.CRSError as error:
        raise ConfigError("area.crs", f"'{horizontal}' is no CRS ({error})", "give one like EPSG:32637") from None
    crs = crs.to_2d()
    if not crs.is_projected or any(a.unit_conversion_factor != 1.0 for a in crs.axis_info):
        raise ConfigError("area.crs", f"'{horizontal}' is not projected in metres", "choose a UTM zone (EPSG:326xx, 327xx)")
    if datum == ELLIPSOID:
        return crs.to_3d()
    if datum not in VERTICAL_CRS:
        raise ConfigError("products.vertical", f"'{datum}' is unknown", f"choose from {', '.join(DATUMS)}")
    vertical = pyproj.CRS.from_epsg(VERTICAL_CRS[datum])
    return pyproj.crs.CompoundCRS(f"{crs.name} + {vertical.name}", [crs, vertical])


def horizontal(crs: Any) -> Any:
    """The horizontal part of a pyproj CRS."""
    return crs.sub_crs_list[0] if crs.is_compound else crs.to_2d()


def heights_above(crs: Any) -> str | None:
    """What the heights of a pyproj CRS count from, in the words of DATUM_NAMES where it is one of these; None where the CRS
    does not say."""
    if not crs.is_compound:
        return DATUM_NAMES[ELLIPSOID] if len(crs.axis_info) == 3 else None
    vertical = crs.sub_crs_list[1]
    if "ellipsoid" in vertical.name.lower():
        return DATUM_NAMES[ELLIPSOID]
    known = {code: DATUM_NAMES[datum] for datum, code in VERTICAL_CRS.items()}
    return known.get(vertical.to_epsg(), str(vertical.name))


# A GeoTIFF keeps the code of a vertical datum, not its name: without a code the name reads back as "unknown". Code 5030 of the
# vertical CRS itself would say more, but GDAL reads that as a projected 3-D CRS, which no copy of the file keeps.
_ELLIPSOIDAL = (
    'VERTCRS["WGS 84 ellipsoidal height",VDATUM["World Geodetic System 1984",ID["EPSG",6326]],CS[vertical,1],'
    'AXIS["ellipsoidal height (h)",up,LENGTHUNIT["metre",1]]]'
)


def raster_wkt(crs: Any) -> str:
    """WKT of a product CRS for GeoTIFF.

    A projected 3-D CRS has no place among the keys of a GeoTIFF: GDAL moves it to a file beside it (.aux.xml), and the
    raster alone has no CRS at all. Ellipsoidal heights therefore go into a compound CRS with a vertical CRS of that name.
    """
    if crs.is_compound or len(crs.axis_info) < 3:
        return str(crs.to_wkt())
    plane, vertical = horizontal(crs), pyproj.CRS.from_wkt(_ELLIPSOIDAL)
    return str(pyproj.crs.CompoundCRS(f"{plane.name} + {vertical.name}", [plane, vertical]).to_wkt())


def las_wkt(crs: Any) -> str:
    """WKT 1 of a CRS, the form that LAS 1.4 asks for and that older readers (PDAL 2.2) understand.

    WKT 1 has no projected 3-D CRS: ellipsoidal heights are written as GDAL does, with a vertical datum of type 2002.
    """
    if crs.is_compound or len(crs.axis_info) < 3:
        return str(crs.to_wkt("WKT1_GDAL"))
    plane = horizontal(crs)
    return (
        f'COMPD_CS["{plane.name} + Ellipsoid (metre)",{plane.to_wkt("WKT1_GDAL")},'
        'VERT_CS["Ellipsoid (metre)",VERT_DATUM["Ellipsoid",2002],UNIT["metre",1,AUTHORITY["EPSG","9001"]],'
        'AXIS["Ellipsoidal height",UP]]]'
    )
