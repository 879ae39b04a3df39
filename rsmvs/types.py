"""Values that travel between modules, and the dimension key of the project.

Dimension key (suffixes of array and tensor names):
    b batch, v view, c channel or class, d height hypothesis, h row, w column, n point, k polynomial order.

Pixel frame: (col, row), integer = pixel centre, (0, 0) = centre of the upper-left pixel of the image *file*.
Heights are ellipsoidal metres (WGS 84), longitudes and latitudes degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


class Camera(Protocol):
    """The one camera interface. All arguments broadcast; everything is float64."""

    kind: str

    @property
    def height_range(self) -> tuple[float, float]:
        """Heights (m) for which the camera model is valid."""

    def project(self, lon: Any, lat: Any, h: Any) -> tuple[F64, F64]:
        """Ground (degrees, degrees, m) to pixel (col, row)."""

    def localise(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        """Pixel at ellipsoidal height h (m) to (lon, lat) in degrees; NaN where no ground point exists."""

    def shifted(self, dcol: float, drow: float) -> Camera:
        """The camera of an image whose pixel (0, 0) is this one's pixel (dcol, drow): a crop."""

    def to_dict(self) -> dict[str, Any]:
        """JSON form, read back by `rsmvs.geometry.camera.camera_from_dict`."""


class Sight(Protocol):
    """Lines of sight: the half of a camera that looks down."""

    def localise(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        """(lon, lat) in degrees of pixels at height h (m)."""


@dataclass(frozen=True)
class Window:
    """A rectangle of whole pixels of an image file."""

    col: int
    row: int
    width: int
    height: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns) of an array that the window lies in."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    def grown(self, px: int) -> Window:
        return Window(self.col - px, self.row - px, self.width + 2 * px, self.height + 2 * px)

    def clipped(self, width: int, height: int) -> Window:
        """The part inside an image of that size; width or height are 0 where there is none."""
        c0, r0 = max(self.col, 0), max(self.row, 0)
        c1, r1 = min(self.col + self.width, width), min(self.row + self.height, height)
        return Window(c0, r0, max(c1 - c0, 0), max(r1 - r0, 0))

    def aligned(self, px: int) -> Window:
        """Grown to multiples of `px`, so that pyramids of different windows share their pixels."""
        c0, r0 = self.col // px * px, self.row // px * px
        c1, r1 = -(-(self.col + self.width) // px) * px, -(-(self.row + self.height) // px) * px
        return Window(c0, r0, c1 - c0, r1 - r0)

    def to_list(self) -> list[int]:
        return [self.col, self.row, self.width, self.height]


@dataclass(frozen=True)
class View:
    """One image with its camera: a record of views.json."""

    id: str
    path: str
    camera: Camera
    camera_source: str
    width: int
    height: int
    nodata: float | None
    weights: tuple[float, ...]  # of the bands in the matching image; one band: (1.0,)
    date: str | None  # ISO 8601
    sun: tuple[float, float] | None  # azimuth, elevation (degrees)
    incidence: float  # degrees from the vertical at the image centre, on the ground
    azimuth: float  # degrees clockwise from north, from the ground towards the satellite
    gsd: float  # metres, geometric mean at the image centre
    footprint: tuple[tuple[float, float], ...]  # (lon, lat) of the image outline at the mid height
    fingerprint: str  # size and modification time of the files: an exchanged image re-runs what it touches
    masks: tuple[str, ...] = ()  # rasters over the image's extent, non-zero where it must not be used
    colour: str | None = None  # a colour image of the same acquisition
    colour_camera: Camera | None = None  # of the colour image, whose pixels are not this image's


# Semantic classes: the six of the 2019 Data Fusion Contest, in the order of the networks' channels, and their LAS codes
# in rasters and point clouds (0 in a raster: no data; -1 as an index: unlabelled).
CLASS_NAMES = ("ground", "foliage", "building", "water", "elevated road", "other")
CLASS_CODES = (2, 5, 6, 9, 17, 1)
UNLABELLED = -1


class Warp(Protocol):
    """What `rsmvs.geometry.warp.WarpField` is, for modules below it."""

    @property
    def coefs(self) -> F64: ...

    @property
    def lattice(self) -> F64: ...

    @property
    def max_error(self) -> float: ...

    def __call__(self, col: Any, row: Any, h: Any) -> tuple[F64, F64]:
        """Source (col, row) of reference pixels at heights h (m)."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One view set with its truth: what a dataset yields, what a network learns from.

    Pixels count within the crops: (0, 0) is the upper-left pixel of each image here, and the warp fields lead from the
    crop of the reference to the crops of the sources. Images are raw intensities; networks normalise them.
    """

    id: str
    images: tuple[F32, ...]  # (h, w) each, reference first; NaN where there is no data
    warps: tuple[Warp, ...]  # reference to each source, in the order of images[1:]
    heights: F32  # (h, w) of the reference: ellipsoidal metres, NaN = unknown
    classes: NDArray[np.int16] | None  # (h, w) index into CLASS_NAMES, UNLABELLED where unknown
    rdm: F32 | None  # (3, h, w) relative depth of the reference at three scales
    height_range: tuple[float, float]  # of the height hypotheses, metres
    gsd: float  # of the reference, metres
    prior: F32 | None = None  # (h, w) heights of another matcher to start from, metres, NaN = none
