"""The products of one tile from the consistent heights of its references."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.fusion.dsm import Surface, draw_surface, fill_holes, fuse_layers, layer_weight
from rsmvs.fusion.ortho import Look, orthoimage
from rsmvs.fusion.outliers import outlying
from rsmvs.fusion.semantics import Vote
from rsmvs.fusion.uncertainty import height_sigma
from rsmvs.geometry.grid import Grid
from rsmvs.geometry.ground import GridCamera, map_projection
from rsmvs.geometry.vertical import product_crs, raster_wkt
from rsmvs.geometry.warp import build_warp_field
from rsmvs.io.pointcloud import NOISE, Points, subset, write_points
from rsmvs.io.raster import NODATA, opened, read_image, write_raster
from rsmvs.options import AreaOptions, FuseOptions
from rsmvs.stages.classes import class_probabilities, class_rasters, point_codes, vote_of_cells
from rsmvs.stages.tile import Layer, TilePlan
from rsmvs.types import F32, Window

_ORTHO_REACH = 12  # cells, over which the surface is closed for the orthoimage
_MAP_TOLERANCE = 0.02  # cells


def fuse(layers: list[Layer], plan: TilePlan, area: AreaOptions, options: FuseOptions, out_dir: Path) -> dict[str, str]:
    """Write the tile's rasters and points into `out_dir`; their names by product, or nothing when no height is left."""
    rim = max(_ORTHO_REACH, round(options.fill_radius / area.resolution))  # so that holes at the border are filled as inside
    core = Grid.covering(plan.bounds, area.resolution)
    grid = core.grown(rim)
    surface, votes = _surface(layers, plan, area, options, grid)
    surface = _reliable(surface, options)
    inside = (slice(rim, -rim), slice(rim, -rim))
    if not np.isfinite(surface.height[inside]).any():
        return {}
    filled = fill_holes(surface.height, round(options.fill_radius / area.resolution))
    closed = fill_holes(filled, _ORTHO_REACH)  # a picture without specks: where no height is known, that of the rim
    ortho = _ortho(closed, layers, plan, area, options, grid)
    crs = raster_wkt(product_crs(area.crs))
    sigma = height_sigma(filled, surface.sigma, surface.n_views)
    rasters: dict[str, Any] = {"dsm": filled, "n_views": surface.n_views, "confidence": surface.confidence, "sigma": sigma}
    rasters |= {} if votes is None else class_rasters(votes, np.isfinite(filled))
    values: Any
    for name, values in (rasters | {"ortho": ortho}).items():
        nodata = None if name == "n_views" else NODATA if values.dtype == np.float32 else 0
        write_raster(out_dir / f"{name}.tif", [values[inside]], grid=core, crs=crs, nodata=nodata, names=[name])
    points = _cleaned(_points(layers, plan, area, core), options)
    write_points(out_dir / "points.laz", points, corner=plan.bounds[:2], crs=product_crs(area.crs))
    return {name: f"{name}.tif" for name in (*rasters, "ortho")} | {"points": "points.laz"}


def _surface(
    layers: list[Layer], plan: TilePlan, area: AreaOptions, options: FuseOptions, grid: Grid
) -> tuple[Surface, Vote | None]:
    """The surface, and the classes of its cells where the matcher gave any."""
    drawn, classes = [], []
    project = map_projection(area.crs)
    for layer in layers:
        field = build_warp_field(layer.view.camera, project, layer.window, plan.height_range, _MAP_TOLERANCE * grid.step)
        bands = layer.bands
        weight = layer_weight(bands["n_views"], bands["confidence"], bands["against"])
        known = class_probabilities(layer)
        values = np.stack([weight, bands["n_views"], bands["sigma"], *([] if known is None else known)])
        ground = field.moved(layer.window.col, layer.window.row, 0, 0)
        heights, carried = draw_surface(_used(layer, options), values, ground, grid, options.max_step)
        drawn.append(np.concatenate([heights[None], carried[:3]]))
        classes += [] if known is None else [(heights, carried[3:])]
    stack = np.stack(drawn, axis=1) if drawn else np.full((4, 1, *grid.shape), np.nan, np.float32)
    surface = fuse_layers(stack[0], stack[1], stack[2], stack[3], options.merge)
    return surface, vote_of_cells(surface.height, classes, options.merge)


def _used(layer: Layer, options: FuseOptions) -> F32:
    """Heights that go into the surface."""
    height = layer.bands["height"]
    return height if options.unconfirmed else np.where(layer.bands["confirmed"] > 0, height, np.nan).astype(np.float32)


def _reliable(surface: Surface, options: FuseOptions) -> Surface:
    """Without the cells whose confidence is too low: a hole is better than a wrong height."""
    good = surface.confidence >= options.min_confidence  # false where there is no height
    height, confidence, sigma = (
        np.where(good, a, np.nan).astype(np.float32) for a in (surface.height, surface.confidence, surface.sigma)
    )
    return Surface(height, np.where(good, surface.n_views, 0).astype(np.uint8), confidence, sigma)


def _ortho(height: F32, layers: list[Layer], plan: TilePlan, area: AreaOptions, options: FuseOptions, grid: Grid) -> F32:
    """From the steepest view down to the most oblique one."""
    looks = []
    ground = GridCamera(area.crs, grid)
    for layer in sorted(layers, key=lambda x: (x.view.incidence, x.view.id)):
        window = Window(0, 0, grid.width, grid.height)
        field = build_warp_field(ground, layer.view.camera.project, window, plan.height_range)
        image = read_image(layer.view, layer.window)
        looks.append(Look(image, layer.bands["height"], field.moved(0, 0, layer.window.col, layer.window.row)))
    ortho = orthoimage(height, looks, options.max_step)
    with opened(layers[0].view.path) as src:
        whole_numbers = np.issubdtype(np.dtype(src.dtypes[0]), np.integer)
    return np.clip(np.nan_to_num(np.rint(ortho)), 0, 65535).astype(np.uint16) if whole_numbers else ortho


def _points(layers: list[Layer], plan: TilePlan, area: AreaOptions, core: Grid) -> Points:
    """Every surface point once: from the first reference that holds it."""
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
        bands = [layer.bands[name][row, col] for name in ("n_views", "confidence", "sigma")]
        codes = point_codes(layer)[row, col]
        found.append([np.stack([x, y, height[row, col].astype(np.float64)], axis=1), grey, *bands, codes])
    xyz, grey, n_views, confidence, sigma, codes = (np.concatenate(part) for part in zip(*found, strict=True))
    return Points(
        xyz=xyz,
        classification=codes,
        intensity=np.clip(np.nan_to_num(np.rint(grey)), 0, 65535).astype(np.uint16),
        n_views=n_views.astype(np.uint8),
        confidence=confidence,
        sigma_z=sigma,
    )


def _cleaned(points: Points, options: FuseOptions) -> Points:
    """Without outliers, or with them as noise."""
    if options.outliers == "keep":
        return points
    wrong = outlying(points.xyz)
    if options.outliers == "remove":
        return subset(points, ~wrong)
    return dataclasses.replace(points, classification=np.where(wrong, NOISE, points.classification).astype(np.uint8))
