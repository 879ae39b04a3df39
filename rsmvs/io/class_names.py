"""Names of a raster's codes where GDAL and QGIS look for them: `NAME.tif.aux.xml` beside it.

A cloud-optimised GeoTIFF has a place for a palette, and none for names or an attribute table. The raster is whole without the
side file: palette and names (tags CODE_n) stand in it, too.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from rsmvs.io.layers import SIDE_SUFFIX, Layer
from rsmvs.io.manifests import write_text

_INTEGER, _TEXT = 0, 2  # types of a column, and what it is for, as GDAL numbers them (gdal.h)
_COLUMNS = (("Value", _INTEGER, 5), ("Class", _TEXT, 2), ("Red", _INTEGER, 6), ("Green", _INTEGER, 7), ("Blue", _INTEGER, 8))


def side_file(raster: str | Path) -> Path:
    return Path(f"{raster}{SIDE_SUFFIX}")


def write_class_names(raster: str | Path, layer: Layer) -> None:
    """Category names and attribute table (value, name, colour) of a raster's first band, from the codes of its layer."""
    names = {c.value: c.name for c in layer.codes}
    categories = (f"<Category>{escape(names.get(v, ''))}</Category>" for v in range(max(names) + 1))
    columns = (
        f'<FieldDefn index="{i}"><Name>{name}</Name><Type>{kind}</Type><Usage>{usage}</Usage></FieldDefn>'
        for i, (name, kind, usage) in enumerate(_COLUMNS)
    )
    rows = (
        f'<Row index="{i}">' + "".join(f"<F>{escape(str(v))}</F>" for v in (c.value, c.name, *c.colour)) + "</Row>"
        for i, c in enumerate(layer.codes)
    )
    table = "\n".join(('<GDALRasterAttributeTable tableType="thematic">', *columns, *rows, "</GDALRasterAttributeTable>"))
    band = "\n".join(("<CategoryNames>", *categories, "</CategoryNames>", table))
    write_text(side_file(raster), f'<PAMDataset>\n<PAMRasterBand band="1">\n{band}\n</PAMRasterBand>\n</PAMDataset>\n')
