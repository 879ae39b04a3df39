"""View sets of random scenes with exact truth, made when they are asked for: one integer, one sample."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import numpy as np

from rsmvs.geometry.viewing import angle_between
from rsmvs.geometry.warp import build_warp_field
from rsmvs.options import opt
from rsmvs.simulate.aerial import aerial_views
from rsmvs.simulate.options import SceneOptions, ViewOptions
from rsmvs.simulate.render import Light, Rendering, light_of, render_view
from rsmvs.simulate.scene import Scene, simulate_scene
from rsmvs.simulate.styles import STYLES
from rsmvs.types import F32, F64, UNLABELLED, Sample, Warp, Window


@dataclass(frozen=True)
class SampleOptions:
    width: int = opt(512, "of the images", unit="px", low=32, high=4096)
    height: int = opt(512, "of the images", unit="px", low=32, high=4096)
    views: int = opt(3, "reference and sources", low=2, high=12)
    camera: str = opt("satellite", "pushbroom with RPC, or an aerial block of pinhole cameras", choices=("satellite", "aerial"))
    style: str = opt("random", "kind of place", choices=("random", *STYLES))
    gsd_min: float = opt(0.3, "finest ground sampling distance", unit="m", low=0.05, high=10)
    gsd_max: float = opt(2.5, "coarsest ground sampling distance", unit="m", low=0.05, high=10)
    incidence_max: float = opt(32.0, "largest incidence", unit="deg", low=0, high=50)
    angle_min: float = opt(4.0, "smallest convergence angle of reference and source", unit="deg", low=0, high=40)
    angle_max: float = opt(45.0, "largest convergence angle of reference and source", unit="deg", low=1, high=90)
    bands: str = opt("pan", "what the sensor records", choices=("pan", "rgb"))
    other_date: float = opt(0.25, "share of sources taken on another date, under another sun", low=0, high=1)
    clouds: float = opt(0.05, "share of views with clouds", low=0, high=1)
    haze: float = opt(0.3, "share of views with haze", low=0, high=1)
    bias: float = opt(0.0, "standard deviation of the sources' camera errors", unit="px", low=0, high=50)
    slack: float = opt(0.5, "search range beyond the scene's heights, above and below, at most; relative to their range",
                       low=0, high=20)


@dataclass(frozen=True, eq=False)
class ViewSet:
    """views: reference first, exact cameras; biases: (n, 2) px (col, row) that the cameras of a Sample
    project too far."""

    scene: Scene
    views: tuple[Rendering, ...]
    biases: F64
    gsd: float
    seed: int
    kind: str = "simulated"


def training_sample(seed: int, options: SampleOptions) -> ViewSet:
    """Views of a random scene under random light; the same seed and options give the same bytes."""
    dice = random.Random(f"view set {seed}")
    gsd = options.gsd_min * (options.gsd_max / options.gsd_min) ** dice.random()  # every scale as often
    scale = max(gsd / 0.6, 1.0) ** 0.6
    reach = max(options.width, options.height) * gsd
    step = gsd * 0.5
    # margins: the image is turned by the flight direction, and oblique lines of sight end beside it
    margin = 0.13 * reach + 12.0 * scale
    place = SceneOptions(extent=reach, margin=margin, step=step, resolution=2 * step, style=options.style, scale=scale)
    scene = simulate_scene(place, seed)
    if options.camera == "aerial":
        views = aerial_views(scene, options.views, (options.width, options.height), gsd, options.bands, seed)
    else:
        views = satellite_views(scene, dice, options, gsd, seed)
    biases = np.array([[dice.gauss(0, options.bias) for _ in range(2)] if k else [0.0, 0.0] for k in range(len(views))])
    return ViewSet(scene, views, biases, gsd, seed)


def satellite_views(
    scene: Scene, dice: random.Random, options: SampleOptions, gsd: float, seed: int, baked: Light | None = None
) -> tuple[Rendering, ...]:
    """Views of the scene's middle, the reference first; `baked`: the one light of a scene that brings its shadows."""
    base = _first_view(dice, options, gsd)
    lights: dict[tuple[float, float], Light] = {}
    views = []
    for k in range(options.views):
        view = _vary(dice, options, base, k > 0 and dice.random() < options.other_date)
        view = view if k == 0 else _turned(dice, options, base, view)
        sun = (view.sun_azimuth, view.sun_elevation)
        if sun not in lights:
            lights[sun] = baked or light_of(scene, *sun)
        views.append(render_view(scene, view, seed * 100 + k, (options.width, options.height), lights[sun], quick=True))
    return tuple(views)


def _first_view(dice: random.Random, options: SampleOptions, gsd: float) -> ViewOptions:
    return ViewOptions(
        gsd=gsd,
        incidence=options.incidence_max * dice.random() ** 1.5,
        azimuth=dice.uniform(0, 360),
        altitude=dice.uniform(450, 800),
        heading=dice.choice((192.0, 348.0)) + dice.uniform(-4, 4),
        sun_azimuth=dice.uniform(90, 270),
        sun_elevation=dice.uniform(25, 75),
        season=dice.choice((0.0, 0.0, dice.random())),
        psf=dice.uniform(0.3, 0.65),
        noise=dice.uniform(0.3, 2.5),
        bits=dice.choice((10, 11, 11, 12)),
        bands=options.bands,
    )


def _vary(dice: random.Random, options: SampleOptions, base: ViewOptions, other_date: bool) -> ViewOptions:
    """A view of the same or of another date: air, gain, and with the date sun and season."""
    if other_date:
        base = replace(base, season=dice.random() * 0.8, sun_azimuth=dice.uniform(90, 270), sun_elevation=dice.uniform(25, 75),
                       date=f"2026-{dice.randrange(1, 13):02d}-15T10:30:00Z")  # fmt: skip
    haze = dice.uniform(0.05, 0.4) if dice.random() < options.haze else dice.uniform(0.0, 0.05)
    clouds = dice.uniform(0.05, 0.3) if dice.random() < options.clouds else 0.0
    gamma = dice.choice((1.0, dice.uniform(0.6, 1.2)))
    return replace(base, gain=dice.uniform(0.6, 1.3), gamma=gamma, haze=haze, clouds=clouds,
                   glint=dice.uniform(0, 2), cars=dice.uniform(0, 30))  # fmt: skip


def _turned(dice: random.Random, options: SampleOptions, base: ViewOptions, view: ViewOptions) -> ViewOptions:
    """The view from another direction, at a convergence angle in the asked range where one is found."""
    for _ in range(100):
        view = replace(view, incidence=options.incidence_max * dice.random() ** 0.7, azimuth=dice.uniform(0, 360))
        angle = float(angle_between(_direction(base), _direction(view)))
        if options.angle_min <= angle <= options.angle_max:
            break
    return view


def _direction(view: ViewOptions) -> F64:
    i, a = np.radians(view.incidence), np.radians(view.azimuth)
    return np.array([np.sin(i) * np.sin(a), np.sin(i) * np.cos(a), np.cos(i)])


def sample_of(views: ViewSet, slack: float) -> Sample:
    """The view set as a network sees it. slack: as in SampleOptions; how much of it is used is drawn from the seed."""
    reference, *sources = views.views
    heights = np.array(reference.heights)
    if reference.clouded is not None:
        heights[reference.clouded] = np.nan
    low, high = float(np.nanmin(reference.heights)), float(np.nanmax(reference.heights))
    dice = random.Random(f"range {views.seed}")
    room = max(high - low, 4.0 * views.gsd)
    search = (low - room * slack * dice.random() - views.gsd, high + room * slack * dice.random() + views.gsd)
    window = Window(0, 0, heights.shape[1], heights.shape[0])
    warps: list[Warp] = [
        build_warp_field(reference.camera, source.camera.shifted(-bias[0], -bias[1]).project, window, search)
        for source, bias in zip(sources, views.biases[1:], strict=True)
    ]
    classes = np.where(np.isnan(heights), UNLABELLED, reference.classes).astype(np.int16)
    images = tuple(_floats(view) for view in views.views)
    return Sample(f"{views.kind}-{views.seed}", images, tuple(warps), heights, classes, None, search, views.gsd)


def _floats(view: Rendering) -> F32:
    image = view.image.astype(np.float32)
    image[view.image == 0] = np.nan
    return image


class SimulatedSamples:
    """A map-style dataset of `count` samples, number i from the seed `first_seed` + i."""

    def __init__(self, count: int, first_seed: int = 0, options: SampleOptions | None = None) -> None:
        self.count, self.first_seed, self.options = count, first_seed, options or SampleOptions()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return sample_of(training_sample(self.first_seed + index, self.options), self.options.slack)
