"""A tile: heights per reference view, their consistency, their fusion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import RsmvsError
from rsmvs.fusion.consistency import Other, check_consistency
from rsmvs.geometry.warp import WarpField, build_warp_field
from rsmvs.geometry.windows import parts, window_of_warp
from rsmvs.io.manifests import write_json
from rsmvs.io.raster import read_image
from rsmvs.networks.matcher import Heights, Source, ViewStack
from rsmvs.options import AreaOptions, FilterOptions, FuseOptions, HeightsOptions
from rsmvs.stages.classes import class_bands, voted_bands
from rsmvs.stages.matchers import Match, matcher_of
from rsmvs.stages.tile import ALIGNMENT, Layer, LayerWriter, TilePlan, read_layers, read_plan, reference_window
from rsmvs.stages.tile_fusion import fuse
from rsmvs.types import F32, View, Window

_OVERLAP = 96  # px between the windows of a large reference
_SOURCE_MARGIN = 16  # px around what a warp reaches: census windows and interpolation


def predict_heights(
    plan: str | Path, area: AreaOptions, options: HeightsOptions, out_index: str | Path, rdm: str | Path | None = None
) -> None:
    """Height, confidence and sigma of every reference of a tile, one GeoTIFF each beside the index.

    rdm: index of the tile's relative depth maps, for models that fuse them. A tile that cannot be matched ends as an
    index with the status and the reason, and no layers.
    """
    planned = read_plan(plan)
    writer = LayerWriter(out_index, planned.tile)
    status, reason = planned.status, planned.reason
    if status == "ok":
        match = matcher_of(options)
        maps = {layer.view.id: layer for layer in read_layers(rdm, planned)[2]} if rdm else {}
        status, reason = _guarded(lambda: _predict(planned, area, options, match, maps, writer))
    writer.close(status, reason)


def _guarded(work: Callable[[], Any]) -> tuple[str, str]:
    """('ok', '') or ('failed', why): the data of one tile must not end the run; the ledger tells."""
    try:
        work()
    except RsmvsError as error:
        print(f"tile failed: {error}")
        return "failed", str(error)
    return "ok", ""


def _predict(
    plan: TilePlan, area: AreaOptions, options: HeightsOptions, match: Match, maps: dict[str, Layer], writer: LayerWriter
) -> None:
    for reference in list(plan.sources)[: options.max_views]:
        view = plan.views[reference]
        window = reference_window(plan, view, area)
        if window is None:
            continue
        heights = _match_reference(plan, view, window, options, match, maps.get(reference))
        print(f"{reference}: {np.isfinite(heights.height).mean():.1%} of {window.width} x {window.height} px have a height")
        bands = {"height": heights.height, "confidence": heights.confidence, "sigma": heights.sigma}
        if heights.classes is not None:
            bands |= class_bands(heights.classes)
        writer.add(Layer(view, window, bands, heights.notes))


def _match_reference(
    plan: TilePlan, view: View, window: Window, options: HeightsOptions, match: Match, rdm: Layer | None
) -> Heights:
    whole = Heights.none(window.shape)
    notes: set[str] = set()
    classes: F32 | None = None
    for part, core in parts(window, options.window, _OVERLAP):
        found = match_window(plan, view, part, match, None if rdm is None else _part_of(rdm, part))
        notes |= set(found.notes)
        inside = _slices(core, part)
        target = _slices(core, window)
        for name in ("height", "confidence", "sigma"):
            getattr(whole, name)[target] = getattr(found, name)[inside]
        if found.classes is not None:
            if classes is None:
                classes = np.full((len(found.classes), *window.shape), np.nan, np.float32)
            classes[:, *target] = found.classes[:, *inside]
    return Heights(whole.height, whole.confidence, whole.sigma, classes, tuple(sorted(notes)))


def _slices(inner: Window, outer: Window) -> tuple[slice, slice]:
    r, c = inner.row - outer.row, inner.col - outer.col
    return slice(r, r + inner.height), slice(c, c + inner.width)


def _part_of(rdm: Layer, part: Window) -> F32:
    return np.stack([band[_slices(part, rdm.window)] for band in rdm.bands.values()])


def match_window(plan: TilePlan, view: View, window: Window, match: Match, rdm: F32 | None = None) -> Heights:
    """Heights of one reference window; none where no source overlaps it. rdm: (3, h, w) of the window."""
    image = read_image(view, window)
    sources = []
    for name in plan.sources[view.id]:
        other = plan.views[name]
        field = build_warp_field(view.camera, other.camera.project, window, plan.height_range)
        reached = window_of_warp(field, window, plan.height_range, _SOURCE_MARGIN).aligned(ALIGNMENT)
        reached = reached.clipped(other.width, other.height)
        if reached.width > _SOURCE_MARGIN and reached.height > _SOURCE_MARGIN:
            shifted = field.moved(window.col, window.row, reached.col, reached.row)
            sources.append(Source(read_image(other, reached), shifted))
    if not sources or not np.isfinite(image).any():
        return Heights.none(window.shape)
    return match(ViewStack(image, tuple(sources), plan.height_range, view.gsd, rdm=rdm))


def filter_heights(heights: str | Path, plan: str | Path, options: FilterOptions, out_index: str | Path) -> None:
    """What other references say of each height: per reference the height, averaged with those that agree, the number of
    views that agree (its own included), those that see through it, whether `min_views` others confirm it, whether an
    earlier reference already holds the point, confidence and sigma."""
    planned = read_plan(plan)
    status, reason, layers = read_layers(heights, planned)
    writer = LayerWriter(out_index, planned.tile)
    if status == "ok":
        status, reason = _guarded(lambda: _filter(layers, planned, options, writer))
    writer.close(status, reason)


def _filter(layers: list[Layer], plan: TilePlan, options: FilterOptions, writer: LayerWriter) -> None:
    for i, layer in enumerate(layers):
        height = layer.bands["height"]
        rest = [other for j, other in enumerate(layers) if j != i]
        others = [
            Other(o.bands["height"], _between(layer, o, plan.height_range), _between(o, layer, plan.height_range)) for o in rest
        ]
        found = check_consistency(height, others, options.max_reprojection, options.max_height_difference)
        count = np.bitwise_count(found.agrees)
        known = np.isfinite(height)
        confirmed = known & (count >= options.min_views)
        repeated = (found.agrees & np.uint32((1 << i) - 1)) != 0  # the others before it come first in `rest` too
        print(f"{layer.view.id}: {confirmed.mean():.1%} confirmed by {options.min_views} or more other views")
        bands = {
            "height": found.height,
            "n_views": np.where(known, count + 1, 0).astype(np.float32),
            "against": found.against.astype(np.float32),
            "confirmed": confirmed.astype(np.float32),
            "repeated": repeated.astype(np.float32),
            "confidence": layer.bands["confidence"],
            "sigma": layer.bands["sigma"],
            **voted_bands(layer, rest, [o.there for o in others], found.agrees),
        }
        writer.add(Layer(layer.view, layer.window, bands, layer.notes))


def _between(a: Layer, b: Layer, height_range: tuple[float, float]) -> WarpField:
    field = build_warp_field(a.view.camera, b.view.camera.project, a.window, height_range)
    return field.moved(a.window.col, a.window.row, b.window.col, b.window.row)


def fuse_tile(
    consistent: str | Path, plan: str | Path, area: AreaOptions, options: FuseOptions, out_ledger: str | Path
) -> None:
    """The tile's core as dsm, n_views, confidence and ortho rasters and a point cloud beside its ledger.

    The ledger is written last and for every tile: 'ok', 'empty' and why, or 'failed' and why.
    """
    planned = read_plan(plan)
    status, reason, layers = read_layers(consistent, planned)
    products: dict[str, str] = {}
    if status == "ok":
        status, reason = _guarded(lambda: products.update(fuse(layers, planned, area, options, Path(out_ledger).parent)))
    if status == "ok" and not products:
        status, reason = "empty", "no height is confirmed by another view"
    notes = sorted({note for layer in layers for note in layer.notes})
    content = {"tile": planned.tile, "status": status, "reason": reason, "notes": notes}
    write_json(out_ledger, content | {"products": products if status == "ok" else {}})
