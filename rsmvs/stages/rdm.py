"""Relative depth maps of the references of a tile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rsmvs.errors import ManifestError
from rsmvs.io.depth_models import read_depth_model
from rsmvs.io.raster import read_image
from rsmvs.io.weights import RDM, embedded, read_weights
from rsmvs.networks.depth_anything import depth_anything_of, relative_depth
from rsmvs.networks.device import best_device
from rsmvs.networks.learned import gsd_notes
from rsmvs.networks.rdm_mosaic import channels
from rsmvs.options import AreaOptions, RdmOptions
from rsmvs.stages.tile import Layer, LayerWriter, read_plan, reference_window
from rsmvs.types import F32


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
    domain = about.pop("domain")
    for reference in list(planned.sources)[:max_views]:
        view = planned.views[reference]
        window = reference_window(planned, view, area)
        if window is None:
            continue
        maps = rdm_of(read_image(view, window), network, options)
        names = [f"rdm blurred by {blur:g} px" for blur in options.blurs]
        notes = gsd_notes(domain, view.gsd, "the relative depth model")
        writer.add(Layer(view, window, dict(zip(names, maps, strict=True)), tuple(notes)))
    writer.close(depth_model=about)


def rdm_of(image: F32, network: Any, options: RdmOptions) -> F32:
    """(3, h, w) relative depth of a view window under growing blur."""
    return channels(relative_depth(image, network, options.window, options.overlap), options.blurs)


def depth_model(name: str, allow_random: bool = False) -> tuple[Any, dict[str, Any]]:
    """(network, {"model", "license", "sha256", "domain"}): a folder or hub model, weights of our own, or embedded ones by name
    (the default: no name). On a GPU where there is one. domain: of the card, empty where there is none."""
    name = name or RDM
    if Path(name).suffix != ".safetensors" and name not in embedded():
        network, about = read_depth_model(name, allow_random)
        return network.to(best_device()), {**about, "domain": {}}
    weights = read_weights(name, allow_random)
    values = dict(weights.card["architecture"])
    if values.pop("kind", None) != "depth_anything":
        raise ManifestError(weights.path, "is no relative depth model", "check rdm.model")
    network = depth_anything_of(values)
    network.load_state_dict(weights.tensors)
    about = {"model": Path(weights.path).stem, "license": str(weights.card.get("license", "not stated"))}
    return network.to(best_device()), {**about, "sha256": str(weights.card["sha256"]), "domain": weights.card["domain"]}
