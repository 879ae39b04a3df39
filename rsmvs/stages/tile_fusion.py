"""The products of one tile from the consistent heights of its references."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsmvs.fusion.dsm import Surface, draw_surface, fill_holes, fuse_layers, layer_weight
from rsmvs.fusion.evidence import POOLED, REACH
from rsmvs.fusion.outliers import NEIGHBOURS, SIGMAS, off_surface, outlying
from rsmvs.fusion.uncertainty import height_sigma
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.ground import map_projection
from rsmvs.geometry.vertical import product_crs, raster_wkt
from rsmvs.geometry.warp import build_warp_field
from rsmvs.io import pdal
from rsmvs.io.pointcloud import NOISE, SCALE, Points, subset, write_points
from rsmvs.io.raster import NODATA, read_image, write_raster
from rsmvs.options import AreaOptions, FuseOptions
from rsmvs.stages.classes import class_rasters, point_codes, point_margins, vote_of_cells
from rsmvs.stages.tile import Layer, TilePlan
from rsmvs.stages.tile_ortho import pictures_of
from rsmvs.types import F32

_ORTHO_REACH = 12  # cells, over which the surface is closed for the orthoimage
_MAP_TOLERANCE = 0.02  # cells
_FINE = np.float32(1024)  # steps of a metre, and of 1, in which points tell sigma and confidence: as fine as their places


def fuse(
    layers: list[Layer], plan: TilePlan, area: AreaOptions, options: FuseOptions, out_dir: Path, smaller: bool = False
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Write the tile's rasters and points into `out_dir`; their names by product, none when no height is left, and notes for
    the ledger. smaller: refined in smaller windows."""
    refining = options.refine.weights != "none" and len(layers) > 1  # one view alone proves nothing
    rim = max(_ORTHO_REACH, round(options.fill_radius / area.resolution))  # so that holes at the border are filled as inside
    core = Grid.covering(plan.bounds, area.resolution)
    grid, inside = core.around(max(rim, REACH) if refining else rim, POOLED)
    surface = surface_of(layers, plan.height_range, area.crs, options, grid)
    notes: tuple[str, ...] = ()
    if refining:
        from rsmvs.stages.refinement import refined  # torch costs a second

        surface, notes = refined(surface, layers, plan.height_range, area.crs, options, grid, smaller)
    surface = _reliable(surface, 0.0 if refining else options.min_confidence)
    if not np.isfinite(surface.height[inside]).any():
        return {}, notes
    filled = fill_holes(surface.height, round(options.fill_radius / area.resolution))
    sigma = height_sigma(filled, surface.sigma, surface.n_views)
    if refining:
        sigma = np.where(np.isfinite(surface.sigma), surface.sigma, sigma)
    rasters: dict[str, Any] = {"dsm": filled, "n_views": surface.n_views, "confidence": surface.confidence, "sigma": sigma}
    votes = vote_of_cells(filled, layers, plan.height_range, area.crs, grid, options.merge)
    rasters |= {} if votes is None else class_rasters(votes, np.isfinite(filled))
    closed = fill_holes(filled, _ORTHO_REACH)  # a picture without specks: where no height is known, that of the rim
    pictures = pictures_of(layers, area.crs, plan.height_range, grid)
    crs = raster_wkt(product_crs(area.crs))
    values: Any
    for name, values in (rasters | {"ortho": pictures.ortho(closed, options.max_step)}).items():
        nodata = None if name == "n_views" else NODATA if values.dtype == np.float32 else 0
        bands, names = (values, pictures.names) if name == "ortho" else ([values], [name])
        write_raster(out_dir / f"{name}.tif", [b[inside] for b in bands], grid=core, crs=crs, nodata=nodata, names=names)
    points = _points(layers, plan, area, core)
    row, col = _cells(points, grid)
    off = off_surface(points.xyz[:, 2], row, col, filled, options.merge)
    sigma_z = np.hypot(sigma[row, col], points.xyz[:, 2] - filled[row, col]).astype(np.float32)  # it is not the cell's height
    sure, sigma_z = (np.rint(v * _FINE) / _FINE for v in (surface.confidence[row, col], sigma_z))
    sure = np.nan_to_num(sure)  # 0 on cells that were filled
    points = _cleaned(dataclasses.replace(points, confidence=sure, sigma_z=sigma_z), off, options)
    points = dataclasses.replace(points, rgb=pictures.colours(points.xyz, options.max_step))
    write_points(out_dir / "points.laz", points, corner=plan.bounds[:2], crs=product_crs(area.crs))
    return {name: f"{name}.tif" for name in (*rasters, "ortho")} | {"points": "points.laz"}, notes


def surface_of(
    layers: list[Layer], height_range: tuple[float, float], crs: str, options: FuseOptions, grid: Grid
) -> Surface:
    """The surface of checked layers on a grid of `crs`."""
    drawn = []
    project = map_projection(crs)
    for layer in layers:
        field = build_warp_field(layer.view.camera, project, layer.window, height_range, _MAP_TOLERANCE * grid.step)
        bands = layer.bands
        weight = layer_weight(bands["n_views"], bands["confidence"], bands["against"])
        values = np.stack([weight, bands["n_views"], bands["sigma"]])
        ground = field.moved(layer.window.col, layer.window.row, 0, 0)
        heights, carried = draw_surface(_used(layer, options), values, ground, grid, options.max_step)
        drawn.append(np.concatenate([heights[None], carried]))
    stack = np.stack(drawn, axis=1) if drawn else np.full((4, 1, *grid.shape), np.nan, np.float32)
    return fuse_layers(stack[0], stack[1], stack[2], stack[3], options.merge)


def _used(layer: Layer, options: FuseOptions) -> F32:
    """Heights that go into the surface."""
    height = layer.bands["height"]
    return height if options.unconfirmed else np.where(layer.bands["confirmed"] > 0, height, np.nan).astype(np.float32)


def _reliable(surface: Surface, floor: float) -> Surface:
    """Without the cells whose confidence is too low: a hole is better than a wrong height."""
    good = (surface.confidence >= floor) & np.isfinite(surface.height)
    height, confidence, sigma = (
        np.where(good, a, np.nan).astype(np.float32) for a in (surface.height, surface.confidence, surface.sigma)
    )
    return Surface(height, np.where(good, surface.n_views, 0).astype(np.uint8), confidence, sigma)


def _points(layers: list[Layer], plan: TilePlan, area: AreaOptions, core: Grid) -> Points:
    """Every surface point once: from the first reference that holds it; how sure it is, the surface tells."""
    xmin, ymin, xmax, ymax = core.bounds
    project = map_projection(area.crs)
    found: list[list[np.ndarray]] = []
    for layer in layers:
        height = layer.bands["height"]
        row, col = np.nonzero((layer.bands["confirmed"] > 0) & (layer.bands["repeated"] == 0))
        field = build_warp_field(layer.view.camera, project, layer.window, plan.height_range, _MAP_TOLERANCE * core.step)
        x, y = field(col + layer.window.col, row + layer.window.row, height[row, col])
        inside = (x >= xmin) & (x < xmax) & (y >= ymin) & (y < ymax)
        row, col, x, y = row[inside], col[inside], x[inside], y[inside]
        grey = read_image(layer.view, layer.window)[row, col]
        bands: list[np.ndarray] = [v[row, col] for v in (layer.bands["n_views"], point_codes(layer), point_margins(layer))]
        found.append([np.stack([x, y, height[row, col].astype(np.float64)], axis=1), grey, *bands])
    xyz, grey, n_views, codes, margin = (np.concatenate(part) for part in zip(*found, strict=True))
    unknown = np.full(len(xyz), np.nan, np.float32)
    return Points(
        xyz=xyz,
        classification=codes,
        intensity=np.clip(np.nan_to_num(np.rint(grey)), 0, 65535).astype(np.uint16),
        n_views=n_views.astype(np.uint8),
        confidence=unknown,
        sigma_z=unknown,
        vote_margin=margin if np.isfinite(margin).any() else None,
    )


def _cells(points: Points, grid: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(row, col) of the cells that hold the points."""
    col = np.floor((points.xyz[:, 0] - grid.x0) / grid.step).astype(np.int64)
    return np.floor((grid.y0 - points.xyz[:, 1]) / grid.step).astype(np.int64), col


def _cleaned(points: Points, off: NDArray[np.bool_], options: FuseOptions) -> Points:
    """Without outliers, or with them as noise: points that the surface does not hold (off), and of the others those far
    from all."""
    if options.outliers == "keep":
        return points
    by_pdal = options.cleaner == "pdal" or (options.cleaner == "auto" and pdal.installed())
    find = pdal.outlying if by_pdal else outlying
    wrong = off.copy()
    wrong[~off] = find(np.round(points.xyz[~off] / SCALE) * SCALE, NEIGHBOURS, SIGMAS)  # as they are stored: both say the same
    if options.outliers == "remove":
        return subset(points, ~wrong)
    return dataclasses.replace(points, classification=np.where(wrong, NOISE, points.classification).astype(np.uint8))
