"""What xdem and demcompare say of a surface and its truth, run by the Python that has them (.ci/install_peers.sh):

    build/peers/bin/python tests/peer_figures.py dsm.tif truth.tif > figures.json

Both rasters lie on one grid. Figures are of surface less truth, in metres; by slope of the truth (Horn) after the median
is taken off; shift: the translation that Nuth and Kaeaeb's method adds to the surface.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from itertools import pairwise
from typing import Any

import numpy as np

SLOPES = (0, 5, 20, 40, 90)  # degrees


def of_xdem(dsm: str, truth: str) -> dict[str, Any]:
    """Means, NMAD and RMSE of geoutils, slopes and co-registration of xdem."""
    import xdem

    surface, reference = xdem.DEM(dsm), xdem.DEM(truth)
    errors, slope = surface - reference, reference.slope(surface_fit="Horn").data.filled(np.nan)
    level = errors - float(errors.get_stats("median"))

    def figures(raster: Any, inside: Any = None) -> dict[str, float]:
        named = {"mean": "mean", "median": "median", "nmad": "nmad", "rmse": "rmse"}
        return {k: float(raster.get_stats(name, inlier_mask=inside)) for k, name in named.items()}

    steps = {f"{a}-{b}": figures(level, (slope >= a) & (slope < b)) for a, b in pairwise(SLOPES)}
    registration = xdem.coreg.NuthKaab(subsample=1.0)
    registration.fit(reference, surface, random_state=1)
    found = registration.meta["outputs"]["affine"]
    shift = {k: float(found[f"shift_{k[1]}"]) for k in ("dx", "dy", "dz")}
    return {"version": metadata.version("xdem"), "raw": figures(errors), "by_slope": steps, "shift": shift}


def of_demcompare(dsm: str, truth: str) -> dict[str, Any]:
    """Means, NMAD, RMSE and the 90th percentile off the mean, slopes and co-registration of demcompare."""
    from demcompare.coregistration import Coregistration
    from demcompare.dem_processing import DemProcessing
    from demcompare.dem_tools import compute_dem_slope, copy_dem, load_dem
    from demcompare.stats_processing import StatsProcessing

    names = ("mean", "median", "nmad", "rmse", "percentil_90")  # the last of |error - mean|
    surface, reference = load_dem(dsm), compute_dem_slope(load_dem(truth), degree=True)
    errors = DemProcessing("alti-diff").process_dem(surface, reference)
    errors["ref_slope"] = reference["ref_slope"]

    def figures(raster: Any, layer: str, part: int) -> dict[str, float]:
        layers = {"slopes": {"type": "slope", "ranges": list(SLOPES[:-1])}}
        stats = StatsProcessing({"classification_layers": layers, "metrics": list(names)}, raster).compute_stats()
        return {k: float(stats.get_classification_layer_metric(layer, part, metric=k)) for k in names}

    raw, level = figures(errors, "global", 0), copy_dem(errors)
    level["image"].data -= raw["median"]
    level["ref_slope"] = reference["ref_slope"]
    steps = {f"{a}-{b}": figures(level, "slopes", i) for i, (a, b) in enumerate(pairwise(SLOPES))}
    method = Coregistration({"method_name": "nuth_kaab_internal", "number_of_iterations": 10, "estimated_initial_shift_x": 0,
                             "estimated_initial_shift_y": 0})  # fmt: skip
    found = method.compute_coregistration(surface, reference)
    step = abs(float(surface.attrs["xres"]))  # theirs are cells, rows towards the south
    shift = {"dx": float(found.x_offset) * step, "dy": -float(found.y_offset) * step, "dz": float(found.z_offset)}
    return {"version": metadata.version("demcompare"), "raw": raw, "by_slope": steps, "shift": shift}


def rounded(value: Any) -> Any:
    """Floats to a tenth of a millimetre."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    paths = sys.argv[1], sys.argv[2]
    print(json.dumps(rounded({"xdem": of_xdem(*paths), "demcompare": of_demcompare(*paths)}), indent=1))
