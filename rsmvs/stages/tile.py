"""What the stages of a tile share: its plan, and the rasters of its references between stages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ManifestError
from rsmvs.geometry.grid import Bounds, Grid
from rsmvs.geometry.ground import GridCamera, ring_lon_lat
from rsmvs.geometry.rpc import RPC
from rsmvs.geometry.warp import WarpField, build_warp_field
from rsmvs.geometry.windows import window_of_area
from rsmvs.io.manifests import checksum, read_json, write_json
from rsmvs.io.raster import opened, write_raster
from rsmvs.io.rpc_files import tags_from_rpc
from rsmvs.io.views import view_from_dict
from rsmvs.options import AreaOptions
from rsmvs.types import F32, View, Window

REVISION = 1

ALIGNMENT = 8  # px: windows start where the coarsest pyramid level has a pixel, in whatever tile they are


@dataclass(frozen=True)
class TilePlan:
    """A tile's plan.json. sources: per reference, best first, the views it is matched with."""

    tile: str
    bounds: Bounds
    status: str
    reason: str
    height_range: tuple[float, float]
    sources: dict[str, tuple[str, ...]]
    views: dict[str, View]


def read_plan(path: str | Path) -> TilePlan:
    """The sets of one reference are united: a matcher takes any number of sources."""
    content = read_json(path)
    try:
        sources: dict[str, tuple[str, ...]] = {}
        for s in content["sets"]:
            known = sources.get(s["reference"], ())
            sources[s["reference"]] = known + tuple(v for v in s["sources"] if v not in known)
        views = {v["id"]: view_from_dict(v, path) for v in content["views"]}
        low, high = content["height_range"] or (0.0, 0.0)
        xmin, ymin, xmax, ymax = content["bounds"]
        return TilePlan(
            content["tile"], (xmin, ymin, xmax, ymax), content["status"], content["reason"], (low, high), sources, views
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(path, f"is no tile plan ({error!r})", "delete it and run again") from None


def reference_window(plan: TilePlan, view: View, area: AreaOptions) -> Window | None:
    """The part of a reference that sees the tile with its halo; None where there is next to nothing."""
    xmin, ymin, xmax, ymax = plan.bounds
    grown = (xmin - area.halo, ymin - area.halo, xmax + area.halo, ymax + area.halo)
    window = window_of_area(view.camera, *ring_lon_lat(area.crs, grown), plan.height_range)
    window = window.aligned(ALIGNMENT).clipped(view.width, view.height)
    return window if min(window.width, window.height) >= 2 * ALIGNMENT else None


def field_onto(view: View, window: Window, grid: Grid, crs: str, height_range: tuple[float, float]) -> WarpField:
    """From the cells of a grid at heights of a range (m) to the pixels of a window of a view."""
    cells = Window(0, 0, grid.width, grid.height)
    field = build_warp_field(GridCamera(crs, grid), view.camera.project, cells, height_range)
    return field.moved(0, 0, window.col, window.row)


@dataclass(frozen=True)
class Layer:
    """The rasters of one reference in image geometry. bands: by name, (h, w) float32 of `window`."""

    view: View
    window: Window
    bands: dict[str, F32]
    notes: tuple[str, ...] = ()


class LayerWriter:
    """Writes the layers of a tile one by one, and their index last: without it none of them counts."""

    def __init__(self, index: str | Path, tile: str) -> None:
        self.index, self.tile = Path(index), tile
        self.layers: list[dict[str, Any]] = []

    def add(self, layer: Layer) -> None:
        path = self.index.parent / f"{layer.view.id}.tif"
        camera = layer.view.camera.shifted(layer.window.col, layer.window.row)
        rpcs = tags_from_rpc(camera) if isinstance(camera, RPC) else None  # so that GIS tools can place it
        names = list(layer.bands)
        write_raster(path, [layer.bands[n] for n in names], nodata=float("nan"), names=names, rpcs=rpcs)
        entry = {"view": layer.view.id, "file": path.name, "window": layer.window.to_list(), "notes": list(layer.notes)}
        self.layers.append(entry | {"sha256": checksum(path)})

    def close(self, status: str = "ok", reason: str = "", **more: Any) -> None:
        """more: what else the index records."""
        content = {"revision": REVISION, "tile": self.tile, "status": status, "reason": reason, "layers": self.layers}
        write_json(self.index, content | more)


def give_up(out: str | Path, tile: str, reason: str) -> None:
    """The index or the ledger of a tile whose job cannot be done; the stages after it pass the reason on."""
    nothing: dict[str, Any] = {"layers": [], "notes": [], "products": {}}
    write_json(out, {"revision": REVISION, "tile": tile, "status": "failed", "reason": reason} | nothing)


def read_layers(index: str | Path, plan: TilePlan) -> tuple[str, str, list[Layer]]:
    """(status, reason, layers) of an index; a layer that is not what was written is an error."""
    content = read_json(index)
    layers = []
    for entry in content["layers"]:
        path = Path(index).parent / entry["file"]
        if not path.is_file() or checksum(path) != entry["sha256"]:
            raise ManifestError(path, "is missing or not what its index says", f"delete {index} and run again")
        with opened(path) as src:
            bands = dict(zip(src.descriptions, src.read().astype(np.float32), strict=True))
        layers.append(Layer(plan.views[entry["view"]], Window(*entry["window"]), bands, tuple(entry["notes"])))
    return content["status"], content["reason"], layers
