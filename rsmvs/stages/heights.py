"""A tile: heights per reference view, their consistency, their fusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ImageError, RsmvsError
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
from rsmvs.types import F32, View, Window

_OVERLAP = 96  # px between the windows of a large reference
_LEAST_WINDOW = 256  # px; smaller windows would be mostly overlap
_SOURCE_MARGIN = 16  # px around what a warp reaches: census windows and interpolation


def predict_heights(
    plan: str | Path, area: AreaOptions, options: HeightsOptions, out_index: str | Path, rdm: str | Path | None = None,
    smaller: bool = False,
) -> None:  # fmt: skip
    """Height, confidence and sigma of every reference of a tile, one GeoTIFF each beside the index.

    rdm: index of the tile's relative depth maps, for models that fuse them. smaller: in windows of half the size, after
    a trial that ran out of memory. A tile that cannot be matched ends as an index with the status and the reason, and no
    layers.
    """
    planned = read_plan(plan)
    writer = LayerWriter(out_index, planned.tile)
    status, reason, maps = planned.status, planned.reason, list[Layer]()
    if status == "ok" and rdm:
        status, reason, maps = read_layers(rdm, planned)
    if status == "ok":
        match = matcher_of(options)
        depths = {layer.view.id: layer for layer in maps}
        status, reason = _guarded(lambda: _predict(planned, area, options, match, depths, writer, smaller))
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
    plan: TilePlan, area: AreaOptions, options: HeightsOptions, match: Match, maps: dict[str, Layer], writer: LayerWriter,
    smaller: bool,
) -> None:  # fmt: skip
    for reference in list(plan.sources)[: options.max_views]:
        view = plan.views[reference]
        window = reference_window(plan, view, area)
        if window is None:
            continue
        rdm = maps.get(reference)
        heights = _match_in_memory(plan, view, window, options, match, rdm, smaller)
        print(f"{reference}: {np.isfinite(heights.height).mean():.1%} of {window.width} x {window.height} px have a height")
        bands = {"height": heights.height, "confidence": heights.confidence, "sigma": heights.sigma}
        if heights.classes is not None:
            bands |= class_bands(heights.classes)
        writer.add(Layer(view, window, bands, (*heights.notes, *(rdm.notes if rdm else ()))))


def _match_in_memory(
    plan: TilePlan, view: View, window: Window, options: HeightsOptions, match: Match, rdm: Layer | None, smaller: bool
) -> Heights:
    """Heights of a reference in the largest windows, halved again and again, for which the memory is enough."""
    whole = min(options.window, max(window.width, window.height))
    size = max(whole // 2, _LEAST_WINDOW) if smaller else whole
    while True:
        note = f"matched in windows of {size} px for want of memory"
        try:
            found = _match_reference(plan, view, window, size, match, rdm)
            return found if size == whole else found.noting(note)
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"):  # torch's, of a GPU
                raise
            print(f"{view.id}: out of memory in windows of {size} px ({error})")
        if size <= _LEAST_WINDOW:
            remedy = "give its job more memory (docs/cluster.md), or use a smaller area.tile_size"
            raise ImageError(view.path, f"memory is not enough for windows of {size} px", remedy)
        size = max(size // 2, _LEAST_WINDOW)


def _match_reference(plan: TilePlan, view: View, window: Window, size: int, match: Match, rdm: Layer | None) -> Heights:
    """Heights of a reference in windows of at most `size` px."""
    whole = Heights.none(window.shape)
    notes: set[str] = set()
    classes: F32 | None = None
    for part, core in parts(window, size, _OVERLAP):
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
    for layer in checked(layers, plan.height_range, options):
        share = (layer.bands["confirmed"] > 0).mean()
        print(f"{layer.view.id}: {share:.1%} confirmed by {options.min_views} or more other views")
        writer.add(layer)


def checked(layers: list[Layer], height_range: tuple[float, float], options: FilterOptions) -> Iterator[Layer]:
    """Each layer with what the others say of it; the bands are told in `filter_heights`."""
    for i, layer in enumerate(layers):
        height = layer.bands["height"]
        rest = [other for j, other in enumerate(layers) if j != i]
        others = [Other(o.bands["height"], _between(layer, o, height_range), _between(o, layer, height_range)) for o in rest]
        found = check_consistency(height, others, options.max_reprojection, options.max_height_difference)
        count = np.bitwise_count(found.agrees)
        known = np.isfinite(height)
        repeated = (found.agrees & np.uint32((1 << i) - 1)) != 0  # the others before it come first in `rest` too
        bands = {
            "height": found.height,
            "n_views": np.where(known, count + 1, 0).astype(np.float32),
            "against": found.against.astype(np.float32),
            "confirmed": (known & (count >= options.min_views)).astype(np.float32),
            "repeated": repeated.astype(np.float32),
            "confidence": layer.bands["confidence"],
            "sigma": layer.bands["sigma"],
            **voted_bands(layer, rest, [o.there for o in others], found.agrees),
        }
        yield Layer(layer.view, layer.window, bands, layer.notes)


def _between(a: Layer, b: Layer, height_range: tuple[float, float]) -> WarpField:
    field = build_warp_field(a.view.camera, b.view.camera.project, a.window, height_range)
    return field.moved(a.window.col, a.window.row, b.window.col, b.window.row)


def fuse_tile(
    consistent: str | Path, plan: str | Path, area: AreaOptions, options: FuseOptions, out_ledger: str | Path,
    smaller: bool = False,
) -> None:  # fmt: skip
    """The tile's core as dsm, n_views, confidence and ortho rasters and a point cloud beside its ledger.

    The ledger is written last and for every tile: 'ok', 'empty' and why, or 'failed' and why. smaller: the refinement in
    windows of half the size, after a trial that ran out of memory.
    """
    from rsmvs.stages.tile_fusion import fuse  # the other stages of a tile do without what it imports

    planned = read_plan(plan)
    status, reason, layers = read_layers(consistent, planned)
    products: dict[str, str] = {}
    notes = {note for layer in layers for note in layer.notes}

    def work() -> None:
        found, more = fuse(layers, planned, area, options, Path(out_ledger).parent, smaller)
        products.update(found)
        notes.update(more)

    if status == "ok":
        status, reason = _guarded(work)
    if status == "ok" and not products:
        status, reason = "empty", "no height is confirmed by another view"
    content = {"tile": planned.tile, "status": status, "reason": reason, "notes": sorted(notes)}
    write_json(out_ledger, content | {"products": products if status == "ok" else {}})
