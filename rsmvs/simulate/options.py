"""Options of the simulator, with unit, range and meaning."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from rsmvs.errors import ConfigError
from rsmvs.options import opt, section
from rsmvs.simulate.styles import STYLES


@dataclass(frozen=True)
class SceneOptions:
    extent: float = opt(256.0, "side of the square area of interest", unit="m", low=16, high=5000)
    margin: float = opt(72.0, "modelled ground around it, so that oblique views end on ground", unit="m", low=0, high=1000)
    step: float = opt(0.25, "spacing of the height field", unit="m", low=0.05, high=5)
    resolution: float = opt(0.5, "cell of the truth rasters; a multiple of the step", unit="m", low=0.05, high=10)
    style: str = opt("town", "kind of place", choices=("random", *STYLES))
    scale: float = opt(1.0, "everything built or grown is that much larger; for coarse images", low=0.5, high=10)
    variety: float = opt(1.0, "how far the colours of materials stray from their table", low=0, high=3)


@dataclass(frozen=True)
class ViewOptions:
    gsd: float = opt(0.5, "ground sampling distance at the image centre", unit="m", low=0.1, high=10)
    incidence: float = opt(0.0, "angle from the vertical, on the ground", unit="deg", low=0, high=55)
    azimuth: float = opt(0.0, "direction from the ground towards the satellite, clockwise from north", unit="deg",
                         low=0, high=360)
    altitude: float = opt(600.0, "of the orbit", unit="km", low=150, high=1000)
    heading: float = opt(192.0, "direction of flight, clockwise from north; 192 = descending sun-synchronous", unit="deg",
                         low=0, high=360)
    sun_azimuth: float = opt(150.0, "direction towards the sun, clockwise from north", unit="deg", low=0, high=360)
    sun_elevation: float = opt(52.0, "of the sun above the horizon", unit="deg", low=5, high=90)
    psf: float = opt(0.45, "standard deviation of the optics' point spread", unit="px", low=0, high=3)
    noise: float = opt(1.0, "strength of shot and read noise; 1 = a good sensor", low=0, high=20)
    bits: int = opt(11, "quantisation", low=8, high=16)
    gain: float = opt(1.0, "radiometric gain of this view", low=0.1, high=5)
    gamma: float = opt(1.0, "exponent on the signal; 1 = linear, as raw products are", low=0.3, high=3)
    bands: str = opt("pan", "what the sensor records", choices=("pan", "rgb"))
    season: float = opt(0.0, "of the plants: 0 = in full leaf, 1 = bare and dry", low=0, high=1)
    haze: float = opt(0.0, "share of the range that path radiance takes", low=0, high=0.9)
    clouds: float = opt(0.0, "share of the image under cloud", low=0, high=1)
    glint: float = opt(0.0, "brightness of the sun's reflection on water", low=0, high=5)
    cars: float = opt(8.0, "moving cars per kilometre of street, other ones in every view", low=0, high=200)
    bias_col: float = opt(0.0, "error of the delivered camera along the rows", unit="px", low=-500, high=500)
    bias_row: float = opt(0.0, "error of the delivered camera along the columns", unit="px", low=-500, high=500)
    date: str = opt("2026-06-21T10:30:00Z", "acquisition, ISO 8601")


@dataclass(frozen=True)
class SimulateOptions:
    seed: int = opt(0, "same seed, same bytes", low=0)
    scene: SceneOptions = section(SceneOptions, "what is on the ground")
    views: tuple[ViewOptions, ...] = opt((), "the acquisitions")
    tile_size: float = opt(128.0, "tile size of the configuration that is written", unit="m", low=16, high=20000)


def with_biases(options: SimulateOptions, sigma: float) -> SimulateOptions:
    """Every view's camera off by normally distributed pixels of that deviation, drawn from the seed."""
    dice = random.Random(f"biases {options.seed}")

    def error() -> float:
        return round(dice.gauss(0, sigma), 3)

    return replace(options, views=tuple(replace(v, bias_col=error(), bias_row=error()) for v in options.views))


# Incidence and azimuth as a stereo acquisition of an agile satellite has them: near nadir, fore and aft, and across.
_ANGLES = ((3.0, 95.0), (13.0, 12.0), (14.0, 193.0), (17.0, 272.0))


def preset(name: str, seed: int = 0) -> SimulateOptions:
    """`demo`: 256 m, four views; `tiny`: 64 m, three views."""
    views = tuple(ViewOptions(incidence=i, azimuth=a) for i, a in _ANGLES)
    if name == "demo":
        return SimulateOptions(seed=seed, scene=SceneOptions(style="small town"), views=views)
    if name == "tiny":
        small = SceneOptions(style="small town", extent=64.0, margin=40.0)
        return SimulateOptions(seed=seed, scene=small, views=views[:3], tile_size=32.0)
    raise ConfigError("preset", f"'{name}' is not known", "choose from demo, tiny")
