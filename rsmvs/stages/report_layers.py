"""The pictures that the report lays over each other."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.evaluation import report as page
from rsmvs.evaluation.pictures import RELIEF, diverging, ramp, relief, relief_limits, stretched
from rsmvs.io.layers import CONFIDENCE, FILLING, N_VIEWS, NDSM, SEMANTIC, STATUS, UNCERTAINTY
from rsmvs.io.raster import read_colour, read_onto, read_small
from rsmvs.io.references import raster_reference

LAYER_SIDE = 1600  # pixels of a picture: ten of them stay under fifteen megabytes
WRONG = 3.0  # m: errors from there on have the full colour
_STEPS = np.linspace(0.0, 1.0, 9)  # of a legend
_VALUES = ((NDSM, "above ground", 25.0, "m"), (UNCERTAINTY, "uncertainty", 2.0, "m"), (CONFIDENCE, "confidence", 1.0, ""))


def layers(
    folder: Path, named: Container[str], reference: str | Path | None, metrics: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Rows of the page, the relief first, the map of errors last. named: the files in `folder` that are products."""
    heights, step = read_small(folder / "dsm.tif", LAYER_SIDE)
    ends = relief_limits(heights)
    rows = [
        page.layer_row("relief", relief(heights, step, ends), page.scale(RELIEF, *ends)),
        page.layer_row("orthoimage", stretched(read_colour(folder / "ortho.tif", LAYER_SIDE))),
    ]
    for layer in (SEMANTIC, STATUS, FILLING):
        if f"{layer.name}.tif" in named:
            codes = read_small(folder / f"{layer.name}.tif", LAYER_SIDE, codes=True)[0]
            rows.append(page.layer_row(layer.name, page.class_picture(codes, layer), page.names(layer)))
    for value, title, high, unit in _VALUES:
        if f"{value.name}.tif" in named:
            cells = read_small(folder / f"{value.name}.tif", LAYER_SIDE)[0]
            rows.append(page.layer_row(title, ramp(cells, 0.0, high), _scale(high, unit)))
    if "n_views.tif" in named:
        counts = read_small(folder / f"{N_VIEWS.name}.tif", LAYER_SIDE, codes=True)[0]
        most = float(max(counts.max(), 1))
        seen = np.where(counts > 0, counts, np.nan)
        rows.append(page.layer_row(N_VIEWS.band, ramp(seen, 0.0, most), _scale(most, "views")))
    if reference is not None and metrics is not None:
        rows.append(_errors(folder / "dsm.tif", heights, reference, metrics["shift"]))
    return rows


def _scale(high: float, unit: str) -> dict[str, Any]:
    return page.scale(ramp(_STEPS, 0.0, 1.0), 0.0, high, unit)


def _errors(dsm: Path, heights: Any, reference: str | Path, shift: Mapping[str, float]) -> dict[str, Any]:
    """Heights less the reference, a raster or LAS points, after the shift (m) of the figures."""
    with raster_reference(reference, dsm) as truth:
        other = read_onto(truth.surface, dsm, heights.shape, (shift["dx"], shift["dy"]))
    legend = page.scale(diverging(2 * _STEPS - 1, 1.0), -WRONG, WRONG)
    return page.layer_row("error", diverging(heights + shift["dz"] - other, WRONG), legend)
