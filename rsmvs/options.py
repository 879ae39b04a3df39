"""Every option of the pipeline, one frozen dataclass a stage, with default, unit, range and meaning."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def opt(default: Any, help: str, *, unit: str = "", low: float | None = None, high: float | None = None,
        choices: tuple[Any, ...] = (), path: bool = False) -> Any:
    """A dataclass field with what a user needs to know of it. `path`: resolved against the config's folder."""
    return field(default=default, metadata=_meta(help, unit, low, high, choices, path))


def required(help: str, *, unit: str = "", path: bool = False) -> Any:
    """Like `opt`, without a default."""
    return field(metadata=_meta(help, unit, None, None, (), path))


def section(cls: type, help: str) -> Any:
    """A group of options with defaults of its own."""
    return field(default_factory=cls, metadata=_meta(help, "", None, None, (), False))


def _meta(help: str, unit: str, low: Any, high: Any, choices: tuple[Any, ...], path: bool) -> dict[str, Any]:
    return {"help": help, "unit": unit, "low": low, "high": high, "choices": choices, "path": path}


@dataclass(frozen=True)
class ImageOptions:
    path: str = required("image file (GeoTIFF, NITF, JP2, ...), or a /vsicurl/ or /vsis3/ path", path=True)
    id: str | None = opt(None, "name of the view; the file's stem when absent")
    camera: str | None = opt(None, "camera file; found beside or inside the image when absent", path=True)
    date: str | None = opt(None, "acquisition time, ISO 8601; read from the metadata when absent")
    nodata: float | None = opt(None, "value without data; the file's own when absent")
    weights: tuple[float, ...] | None = opt(
        None, "weights of the bands in the matching image; absent: the only band, luminance of RGB, else the mean", low=0)
    masks: tuple[str, ...] = opt(
        (), "rasters of the image's extent, non-zero where it must not be used (cloud, water, invalid)", path=True)
    colour: str | None = opt(None, "colour image of the same acquisition, for the ortho product", path=True)
    colour_camera: str | None = opt(None, "its camera file; found beside or inside it when absent", path=True)


@dataclass(frozen=True)
class AreaOptions:
    crs: str = required("projected CRS of the products, in metres (EPSG:32637)")
    aoi: tuple[float, ...] | None = opt(None, "area of interest [xmin, ymin, xmax, ymax] in that CRS", unit="m")
    aoi_file: str | None = opt(None, "or a GeoJSON polygon (longitude, latitude)", path=True)
    resolution: float = opt(0.5, "cell size of the DSM", unit="m", low=0.05, high=100)
    tile_size: float = opt(500.0, "side of a tile, the job that is scheduled and restarted; multiple of the resolution",
                           unit="m", low=16, high=20000)
    halo: float = opt(40.0, "context computed around a tile and thrown away", unit="m", low=0, high=1000)
    height_range: tuple[float, ...] | None = opt(
        None, "search range [low, high] of ellipsoidal heights; found from tie points, DEM and camera when absent", unit="m")


@dataclass(frozen=True)
class MatchOptions:
    max_partners: int = opt(8, "later views with which a view is matched, largest overlap first", low=1, high=1000)
    max_points: int = opt(2000, "tie points kept per pair, spread over the overlap", low=20, high=100000)
    window: int = opt(2048, "largest side of an image window read at once", unit="px", low=256, high=8192)
    max_windows: int = opt(16, "windows per pair, spread over the overlap", low=1, high=10000)
    search_px: float = opt(100.0, "largest error of the given cameras, relative to each other", unit="px", low=2, high=2000)
    ratio: float = opt(0.85, "largest ratio of the best to the second-best descriptor distance", low=0.1, high=1)
    patch: int = opt(21, "side of the patches of the sub-pixel refinement; odd", unit="px", low=7, high=61)
    min_correlation: float = opt(0.75, "smallest correlation of two refined patches", low=0, high=1)
    min_matches: int = opt(12, "a pair with fewer verified matches counts as unmatched", low=4, high=10000)


@dataclass(frozen=True)
class AdjustOptions:
    mode: str = opt("auto", "image-space correction per view: a shift, a shift with drift, the one that the tie points support, none",
                    choices=("auto", "bias", "affine", "none"))
    shift_sigma: float = opt(5.0, "expected error of the given cameras; holds the network where it has no control",
                             unit="px", low=0.01, high=1000)
    drift_sigma: float = opt(0.2, "expected drift of the given cameras", unit="px per 1000 px", low=0.001, high=100)
    min_tracks: int = opt(10, "a view with fewer tie points keeps its camera and is flagged", low=3, high=10000)
    outlier_sigmas: float = opt(3.5, "tie points with larger residuals are rejected, in robust standard deviations", low=2, high=20)
    gcps: str | None = opt(None, "ground control points with their image positions, CSV or GeoJSON", path=True)
    gcp_sigma_px: float = opt(0.5, "accuracy of the image positions of ground control points", unit="px", low=0.01, high=100)
    dem_sigma: float | None = opt(None, "anchors the heights to reference.dem, known that well; no anchor when absent",
                                  unit="m", low=0.01, high=1000)


@dataclass(frozen=True)
class SelectOptions:
    max_sets: int = opt(10, "view sets (a reference with its sources) per tile", low=1, high=100)
    max_sources: int = opt(5, "source views per set", low=1, high=20)
    min_angle: float = opt(3.0, "smallest convergence angle of reference and source", unit="deg", low=0, high=60)
    max_angle: float = opt(50.0, "largest convergence angle of reference and source", unit="deg", low=1, high=120)
    min_overlap: float = opt(0.1, "smallest share of the tile that a view must see", low=0, high=1)
    max_days: float = opt(60.0, "largest time between reference and source where closer ones exist", unit="d", low=0)


@dataclass(frozen=True)
class SgmOptions:
    levels: int = opt(4, "levels of the image pyramid; each halves the resolution", low=1, high=8)
    step_px: float = opt(0.5, "height planes lie at most this far apart in the source view that moves most",
                         unit="px", low=0.05, high=4)
    margin: int = opt(6, "planes searched beyond the coarser level's heights", low=1, high=64)
    neighbourhood: int = opt(5, "coarser pixels around a pixel whose heights are searched", unit="px", low=1, high=31)
    ceiling: int = opt(7, "census distance, of 24, at which a source's vote is cut: it may not see the point",
                       unit="bits", low=1, high=24)
    p1: int = opt(16, "penalty of a step of one plane; a bit of census distance costs 8", low=0, high=200)
    p2: int = opt(64, "penalty of a larger step where the image has no edge", low=1, high=255)
    contrast: float = opt(1.0, "grey-value step, in 80th percentiles of the gradient, that halves p2", low=0.01, high=100)


@dataclass(frozen=True)
class CascadeOptions:
    """Architecture of a learned matcher; stands in the card of its weights."""

    regularizer: str = opt("casmvs", "from costs to heights", choices=("red", "casmvs", "ucs"))
    feature_channels: tuple[int, ...] = opt((8, 16, 32), "feature widths at strides 1, 2, 4", low=1, high=512)
    regularizer_widths: tuple[int, ...] = opt((8, 8, 8), "first width of the regulariser at strides 4, 2, 1", low=1, high=512)
    levels: int = opt(3, "halvings inside the regulariser", low=0, high=4)
    hypotheses: tuple[int, ...] = opt((64, 32, 8), "height planes at strides 4, 2, 1; multiples of 2 ** levels", low=2, high=1024)
    interval_ratio: tuple[float, ...] = opt((4.0, 2.0, 1.0), "distance of planes, past the first stage, in min_interval", low=0)
    min_interval: float = opt(0.0, "unit of interval_ratio; 0: the GSD of the reference", unit="m", low=0)
    lamb: float = opt(1.5, "ucs: half search range of the next stage in standard deviations", low=0.1, high=10)
    visibility: bool = opt(False, "weigh each source by its learned visibility instead of equally")
    zncc_window: int = opt(0, "side of the correlation window added to the learned costs; 0: none", unit="px", low=0, high=15)
    rdm: bool = opt(False, "fuse the relative depth map into the reference features")
    rdm_guide: bool = opt(False, "let the relative depth map sharpen the centre of the search range")
    polish: bool = opt(False, "choose the last height among those of neighbouring pixels by the image")
    prior_stage: int = opt(1, "first stage run when a prior height map is given", low=0, high=2)
    prior_cells: int = opt(5, "neighbourhood whose prior heights are searched, in cells of that stage", low=1, high=31)


PRESETS = {
    "paper": CascadeOptions(),
    "small": CascadeOptions(feature_channels=(8, 12, 16), regularizer_widths=(8, 6, 4), levels=2, hypotheses=(48, 16, 8)),
    "refine": CascadeOptions(feature_channels=(8, 12, 16), regularizer_widths=(8, 8, 6), levels=2, hypotheses=(48, 16, 8),
                             zncc_window=5, polish=True),
}


@dataclass(frozen=True)
class TrainOptions:
    steps: int = opt(10000, "optimiser steps", low=1)
    batch_size: int = opt(2, "samples per step and process", low=1, high=1024)
    accumulate: int = opt(1, "batches whose gradients are summed into one step", low=1, high=1024)
    lr: float = opt(1e-3, "learning rate", low=0)
    lr_end: float = opt(1e-5, "learning rate at the last step, on a cosine; equal to lr: constant", low=0)
    warmup: int = opt(0, "steps over which the learning rate rises from zero", low=0)
    alpha: float = opt(0.9, "RMSprop: smoothing of the squared gradient", low=0, high=1)
    clip_norm: float = opt(5.0, "largest gradient norm; 0: none", low=0)
    dlossw: tuple[float, ...] = opt((0.5, 1.0, 2.0), "weights of the stages' losses", low=0)
    ema: float = opt(0.0, "decay of the moving average of the weights that is kept in the end; 0: none", low=0, high=0.99999)
    precision: str = opt("auto", "arithmetic of the convolutions; auto: bf16 on a GPU", choices=("auto", "fp32", "bf16"))
    workers: int = opt(0, "processes that prepare samples", low=0, high=256)
    threads: int = opt(0, "threads of a process; 0: the library's choice", low=0, high=256)
    seed: int = opt(0, "of initial weights and sample order", low=0)
    log_every: int = opt(10, "steps between rows of the log", low=1)
    save_every: int = opt(200, "steps between checkpoints", low=1)
    eval_every: int = opt(1000, "steps between evaluations of the fixed set", low=1)
    tensorboard: bool = opt(False, "also write TensorBoard events (needs the package tensorboard)")


@dataclass(frozen=True)
class HeightsOptions:
    model: str = opt("sgm", "matcher", choices=("sgm",))
    max_views: int = opt(8, "references matched per tile, best sets first", low=1, high=100)
    window: int = opt(1536, "largest side of a matched window: bounds the memory of a job", unit="px", low=128, high=8192)
    sgm: SgmOptions = section(SgmOptions, "the model-free matcher: multi-view census, semi-global")


@dataclass(frozen=True)
class FilterOptions:
    max_reprojection: float = opt(1.0, "largest |P3 - P1| after projection with the height and back", unit="px", low=0)
    max_height_difference: float = opt(2.5, "largest difference to the other view's height", unit="m", low=0)
    min_views: int = opt(1, "other views that must agree", low=0, high=100)


@dataclass(frozen=True)
class FuseOptions:
    fill_radius: float = opt(1.5, "holes up to twice this width are filled from their rim", unit="m", low=0, high=50)


@dataclass(frozen=True)
class ProductOptions:
    vertical: str = opt("ellipsoid", "what the heights of the products count from", choices=("ellipsoid", "egm96", "egm2008"))
    geoid: str | None = opt(None, "geoid grid (GTX or PROJ's GeoTIFF); found in PROJ's data folders when absent", path=True)


@dataclass(frozen=True)
class ReferenceOptions:
    dsm: str | None = opt(None, "reference DSM to evaluate against", path=True)
    classes: str | None = opt(None, "reference class map (LAS codes); figures are then told by class", path=True)
    max_shift: float = opt(3.0, "largest horizontal shift searched between the DSM and the reference", unit="m", low=0, high=20)
    dem: str | None = opt(None, "coarse DEM that narrows the height search", path=True)
    dem_offset: float = opt(0.0, "added to the heights of the DEM to make them ellipsoidal: the geoid undulation of the area",
                            unit="m", low=-200, high=200)


@dataclass(frozen=True)
class LedgerOptions:
    max_failed: float = opt(0.0, "share of failed tiles past which the run exits with an error", low=0, high=1)


@dataclass(frozen=True)
class Config:
    images: tuple[ImageOptions, ...] = required("the images")
    area: AreaOptions = required("where, and on which grid")
    output: str = opt("../runs/rsmvs", "folder of the run", path=True)
    match: MatchOptions = section(MatchOptions, "tie points")
    adjust: AdjustOptions = section(AdjustOptions, "bundle adjustment")
    select: SelectOptions = section(SelectOptions, "view selection")
    heights: HeightsOptions = section(HeightsOptions, "matching")
    filter: FilterOptions = section(FilterOptions, "geometric consistency")
    fuse: FuseOptions = section(FuseOptions, "fusion to the DSM")
    products: ProductOptions = section(ProductOptions, "products of the scene")
    reference: ReferenceOptions = section(ReferenceOptions, "what is already known of the area")
    ledger: LedgerOptions = section(LedgerOptions, "what counts as a failed run")
