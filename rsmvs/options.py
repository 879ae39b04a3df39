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
    level: str = opt("auto", "product level; named, it is taken as such even where the metadata or the geometry say otherwise",
                     choices=("auto", "sensor", "ortho-ready"))
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
    halo: float = opt(80.0, "context computed around a tile and thrown away", unit="m", low=0, high=1000)
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
    mode: str = opt("auto", "correction per view in its image: shift, shift with drift, what the tie points support, none",
                    choices=("auto", "bias", "affine", "none"))
    shift_sigma: float = opt(5.0, "expected error of the given cameras; holds the network where it has no control",
                             unit="px", low=0.01, high=1000)
    drift_sigma: float = opt(0.2, "expected drift of the given cameras", unit="px per 1000 px", low=0.001, high=100)
    min_tracks: int = opt(10, "a view with fewer tie points keeps its camera and is flagged", low=3, high=10000)
    outlier_sigmas: float = opt(3.5, "residual past which a tie point is rejected, in robust deviations", low=2, high=20)
    freeze: str | None = opt(None, "copy of the folder 'adjusted' of a finished run: its views keep the cameras that they "
                             "have there, and only further views are adjusted, to them", path=True)
    gcps: str | None = opt(None, "ground control points with their image positions, CSV or GeoJSON", path=True)
    gcp_sigma_px: float = opt(0.5, "accuracy of the image positions of ground control points", unit="px", low=0.01, high=100)
    dem_sigma: float | None = opt(None, "anchors the heights to reference.dem, known that well; no anchor when absent",
                                  unit="m", low=0.01, high=1000)


@dataclass(frozen=True)
class SelectOptions:
    max_sets: int = opt(10, "view sets (a reference with its sources) per tile", low=1, high=100)
    max_sources: int = opt(5, "source views per set", low=1, high=20)
    sets_per_reference: int = opt(1, "sets with the same reference; more, for many sets of few sources", low=1, high=100)
    min_angle: float = opt(3.0, "smallest convergence angle of reference and source", unit="deg", low=0, high=60)
    best_angle: float = opt(15.0, "convergence angle that scores best", unit="deg", low=1, high=60)
    max_angle: float = opt(50.0, "largest convergence angle of reference and source", unit="deg", low=1, high=120)
    min_overlap: float = opt(0.1, "smallest share of the tile that a view must see", low=0, high=1)
    min_score: float = opt(0.5, "smallest score of a source, relative to the best source of its reference", low=0.001, high=1)
    max_days: float = opt(60.0, "largest time between reference and source where closer ones exist", unit="d", low=0)
    min_points: int = opt(20, "tie points in and around a tile that its height range may rest on", low=3, high=10000)
    height_margin: float = opt(30.0, "height searched above the highest tie points; half of it below the lowest",
                               unit="m", low=0, high=1000)


@dataclass(frozen=True)
class SgmOptions:
    levels: int = opt(4, "levels of the image pyramid; each halves the resolution", low=1, high=8)
    step_px: float = opt(0.5, "height planes lie at most this far apart in the source view that moves most",
                         unit="px", low=0.05, high=4)
    margin: int = opt(8, "planes searched beyond the coarser level's heights", low=1, high=64)
    neighbourhood: int = opt(5, "coarser pixels around a pixel whose heights are searched", unit="px", low=1, high=31)
    ceiling: float = opt(0.29, "share of the largest census distance at which a source's vote is cut: it may not see the point",
                         low=0.01, high=1)
    p1: int = opt(32, "penalty of a step of one plane, for one source; the largest census distance costs 192", low=0, high=200)
    p2: int = opt(160, "penalty of a larger step where the image has no edge, for one source", low=1, high=1000)
    fading: float = opt(0.75, "power with which the penalties fall with the number of sources", low=0, high=2)
    contrast: float = opt(1.0, "grey-value step, in 80th percentiles of the gradient around, that halves p2",
                          low=0.01, high=100)
    smoothing: float = opt(2.0, "height differences, in planes, that are smoothed away on one surface", low=0.01, high=10)


@dataclass(frozen=True)
class LearnedOptions:
    weights: str = opt("", "embedded weights by name, or a .safetensors file with its card; empty: embedded for the model")
    backend: str = opt("auto", "what runs the network; auto: a GPU, else OpenVINO where it is installed, else torch",
                       choices=("auto", "torch", "openvino"))
    window: int = opt(1024, "largest side of the windows that go through the network", unit="px", low=64, high=4096)
    overlap: int = opt(64, "overlap of these windows, over which they are blended", unit="px", low=0, high=512)
    threads: int = opt(0, "threads of the network; 0: the library's choice", low=0, high=256)
    heights_from: str = opt("card", "of mvsr3d: the network's heights, or those of semi-global matching, from which it starts; "
                            "card: what the card of its weights recommends", choices=("card", "network", "prior"))
    precision: str = opt("fp32", "arithmetic of the convolutions in torch; bf16: on processors that have it (AMX, avx512_bf16)",
                         choices=("fp32", "bf16"))


@dataclass(frozen=True)
class RdmOptions:
    model: str = opt("", "Depth-Anything model: a folder, or a hub name, which may be downloaded; empty: the embedded one")
    window: int = opt(518, "side of the windows that go through the model; a multiple of its patch size", unit="px",
                      low=56, high=4096)
    overlap: float = opt(0.5, "overlap of neighbouring windows, as a share of their side", low=0.1, high=0.9)
    blurs: tuple[float, ...] = opt((0.0, 2.0, 8.0), "Gaussian blur of the three channels", unit="px", low=0)


@dataclass(frozen=True)
class HeightsOptions:
    model: str = opt("sgm", "matcher: model-free, or learned", choices=("sgm", "red", "casmvs", "ucs", "mvsr3d"))
    max_views: int = opt(8, "references matched per tile, best sets first", low=1, high=33)
    window: int = opt(1536, "largest side of a matched window: bounds the memory of a job", unit="px", low=128, high=8192)
    rdm: bool = opt(False, "give relative depth maps to the learned matcher; its weights must know them")
    sgm: SgmOptions = section(SgmOptions, "the model-free matcher: multi-view census, semi-global")
    learned: LearnedOptions = section(LearnedOptions, "the learned matchers")

    @property
    def classes(self) -> bool:
        """Whether the model gives classes."""
        return self.model == "mvsr3d"

    @property
    def weights(self) -> str:
        """Path or embedded name of the weights of a learned model."""
        embedded = "mvsr3d-tiny" if self.model == "mvsr3d" else f"{self.model}-small" + "-rdm" * self.rdm
        return self.learned.weights or embedded


@dataclass(frozen=True)
class FilterOptions:
    max_reprojection: float = opt(1.0, "largest |P3 - P1| after projection with the height and back", unit="px", low=0)
    max_height_difference: float = opt(2.5, "largest difference to the other view's height", unit="m", low=0)
    min_views: int = opt(1, "other views that must agree with a confirmed height", low=0, high=31)


@dataclass(frozen=True)
class RefineOptions:
    weights: str = opt("ground-small", "network that refines the fused surface: embedded weights by name, a .safetensors file "
                       "with its card, or none")
    max_sigma: float = opt(6.7, "cells of the refined DSM stay empty where one sigma is more than that times the root of their "
                                "confidence", unit="cells", low=0.1, high=1000)


@dataclass(frozen=True)
class FuseOptions:
    max_step: float = opt(2.0, "height step between neighbouring pixels past which the surface is torn: a wall",
                          unit="m", low=0.01, high=100)
    merge: float = opt(1.0, "heights of several references this close in a cell are one surface", unit="m", low=0.01, high=100)
    unconfirmed: bool = opt(
        True, "heights that no other view confirms count in the DSM, with little weight; never in the points")
    min_confidence: float = opt(0.09, "cells of the DSM below this confidence stay empty", low=0, high=1)
    fill_radius: float = opt(0.0, "holes of the DSM up to twice this width are closed; dsm_filled.tif closes all",
                             unit="m", low=0, high=50)
    refine: RefineOptions = section(RefineOptions, "refinement of the surface on the ground grid")
    outliers: str = opt("remove", "points off the DSM by more than merge, or far from all others: leave them out, keep them as "
                        "class 7 (noise), or do not look",
                        choices=("remove", "mark", "keep"))
    cleaner: str = opt("auto", "what looks for them; auto: the command pdal where it is installed, else scipy; they agree",
                       choices=("auto", "pdal", "scipy"))


@dataclass(frozen=True)
class ProductOptions:
    vertical: str = opt("ellipsoid", "what the heights of the products count from", choices=("ellipsoid", "egm96", "egm2008"))
    geoid: str | None = opt(None, "geoid grid (GTX or PROJ's GeoTIFF); found in PROJ's data folders when absent", path=True)
    max_object_size: float = opt(50.0, "widest building or wood that the terrain model passes under", unit="m", low=4, high=500)
    copc: str = opt("copclib", "writer of points.copc.laz: copclib, in little memory, always the same bytes, or pdal",
                    choices=("copclib", "pdal"))
    fill_reach: float = opt(5.0, "holes up to twice this width are interpolated in dsm_filled, wider ones take the terrain",
                            unit="m", low=0, high=200)


@dataclass(frozen=True)
class ReferenceOptions:
    dsm: str | None = opt(None, "reference DSM to evaluate against", path=True)
    classes: str | None = opt(None, "reference class map (LAS codes); figures are then told by class", path=True)
    dtm: str | None = opt(None, "reference terrain; what stands on it is then compared in plan and volume", path=True)
    max_shift: float = opt(3.0, "largest horizontal shift searched between the DSM and the reference", unit="m", low=0, high=20)
    dem: str | None = opt(None, "coarse DEM that narrows the height search", path=True)
    dem_offset: float = opt(0.0, "added to the heights of the DEM to make them ellipsoidal: the geoid undulation of the area",
                            unit="m", low=-200, high=200)


@dataclass(frozen=True)
class LedgerOptions:
    max_failed: float = opt(0.0, "share of failed tiles past which the run exits with an error", low=0, high=1)


@dataclass(frozen=True)
class TrainJobOptions:
    """A training as a job of the workflow; what is trained stands in a file of its own."""

    config: str | None = opt(None, "YAML file with the sections network, training, data, as for rsmvs train --config",
                             path=True)
    model: str = opt("cascade", "what is trained: heights by red, casmvs or ucs (network.regularizer), heights and classes, or "
                     "classes alone", choices=("cascade", "mvsr3d", "mvsam"))
    preset: str = opt("", "architecture that the section network starts from, as for rsmvs train --preset; empty: its default",
                      choices=("", "paper", "small", "refine", "tiny", "tiny_refine", "vit_b", "vit_l", "vit_h"))
    threads: int = opt(4, "cores of the job", low=1, high=256)
    memory: int = opt(8000, "memory of the job", unit="MB", low=500)
    hours: float = opt(24.0, "after which the job is ended; the next run goes on from its last checkpoint", unit="h", low=0.1)


@dataclass(frozen=True)
class Config:
    images: tuple[ImageOptions, ...] = required("the images")
    area: AreaOptions = required("where, and on which grid")
    output: str = opt("../runs/rsmvs", "folder of the run", path=True)
    match: MatchOptions = section(MatchOptions, "tie points")
    adjust: AdjustOptions = section(AdjustOptions, "bundle adjustment")
    select: SelectOptions = section(SelectOptions, "view selection")
    rdm: RdmOptions = section(RdmOptions, "relative depth maps of single images, used with heights.rdm")
    heights: HeightsOptions = section(HeightsOptions, "matching")
    filter: FilterOptions = section(FilterOptions, "geometric consistency")
    fuse: FuseOptions = section(FuseOptions, "fusion to the DSM")
    products: ProductOptions = section(ProductOptions, "products of the scene")
    reference: ReferenceOptions = section(ReferenceOptions, "what is already known of the area")
    ledger: LedgerOptions = section(LedgerOptions, "what counts as a failed run")
    train: TrainJobOptions = section(TrainJobOptions, "training of a learned matcher: rsmvs run CONFIG --target train")
