"""Relative depth maps of the references of a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsmvs.errors import ManifestError
from rsmvs.io.depth_models import read_depth_model
from rsmvs.io.raster import read_image
from rsmvs.io.weights import read_weights
from rsmvs.networks.depth_anything import depth_anything_of, relative_depth
from rsmvs.networks.rdm_mosaic import channels
from rsmvs.options import AreaOptions, RdmOptions
from rsmvs.stages.tile import Layer, LayerWriter, read_plan, reference_window

RDM_REVISION = 1

_EMBEDDED = "rdm-tiny"


def predict_rdm(
    plan: str | Path, area: AreaOptions, options: RdmOptions, max_views: int, out_index: str | Path, allow_random: bool = False
) -> None:
    """Relative depth at three blurs of each reference of a tile, one GeoTIFF each beside the index.

    The index records the model's name, licence and checksum. max_views: as for the heights. allow_random: for tests.
    """
    planned = read_plan(plan)
    writer = LayerWriter(out_index, planned.tile)
    if planned.status != "ok":
        writer.close(planned.status, planned.reason)
        return
    network, about = depth_model(options.model, allow_random)
    for reference in list(planned.sources)[:max_views]:
        view = planned.views[reference]
        window = reference_window(planned, view, area)
        if window is None:
            continue
        depth = relative_depth(read_image(view, window), network, options.window, options.overlap)
        maps = channels(depth, options.blurs)
        names = [f"rdm blurred by {blur:g} px" for blur in options.blurs]
        writer.add(Layer(view, window, dict(zip(names, maps, strict=True))))
    writer.close(depth_model=about)


def depth_model(name: str, allow_random: bool = False) -> tuple[Any, dict[str, str]]:
    """(network, {"model", "license", "sha256"}): a folder or hub model, or embedded weights (the default: no name)."""
    if name and Path(name).suffix != ".safetensors":
        return read_depth_model(name, allow_random)
    weights = read_weights(name or _EMBEDDED, allow_random)
    values = dict(weights.card["architecture"])
    if values.pop("kind", None) != "depth_anything":
        raise ManifestError(weights.path, "is no relative depth model", "check rdm.model")
    network = depth_anything_of(values)
    network.load_state_dict(weights.tensors)
    about = {"model": Path(weights.path).stem, "license": "Apache-2.0", "sha256": str(weights.card["sha256"])}
    return network, about
