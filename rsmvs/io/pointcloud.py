"""Point clouds: LAS 1.4, point format 7, compressed (LAZ).

Coordinates are millimetres from a whole-metre offset, so that tiles move to the offset of the scene without rounding.
The CRS stands in the file as WKT with its vertical part. Files of the same points have the same bytes: no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import numpy as np
from laspy.vlrs.known import WktCoordinateSystemVlr
from numpy.typing import NDArray

from rsmvs.errors import ManifestError
from rsmvs.geometry.grid import Bounds
from rsmvs.geometry.vertical import las_wkt
from rsmvs.io.disk import telling
from rsmvs.io.manifests import atomic
from rsmvs.types import F32, F64

SCALE = 0.001  # metres
CHUNK = 500_000  # points held at once while merging: about 50 MB
NOISE = 7  # ASPRS code; those of the classes are in rsmvs.types
Lowered = Callable[[F64, F64], F64]  # metres to take from heights at (x, y)
_EXTRA = (
    laspy.ExtraBytesParams("n_views", np.uint8, "views that agree"),
    laspy.ExtraBytesParams("confidence", np.float32, "in the height, 0 to 1"),
    laspy.ExtraBytesParams("sigma_z", np.float32, "metres, one sigma"),
    laspy.ExtraBytesParams("vote_margin", np.float32, "of the class, 0 to 1"),
)
_CREATION_DAY = slice(90, 94)  # bytes of the LAS header: day of year and year, 0 where unknown


@dataclass(frozen=True)
class Points:
    """A point cloud in memory; every array has n rows.

    xyz: (n, 3) metres, easting, northing, height in the CRS of the file. classification: ASPRS codes, 1 unclassified.
    intensity: (n,) grey value of the panchromatic image. rgb: (n, 3) or None. sigma_z: metres, NaN unknown.
    vote_margin: (n,) share of votes of the class less the next one's, NaN without votes; or None.
    """

    xyz: F64
    classification: NDArray[np.uint8]
    intensity: NDArray[np.uint16]
    n_views: NDArray[np.uint8]
    confidence: F32
    sigma_z: F32
    rgb: NDArray[np.uint16] | None = None
    vote_margin: F32 | None = None

    def __len__(self) -> int:
        return len(self.xyz)


def write_points(path: str | Path, points: Points, *, corner: tuple[float, float], crs: Any) -> None:
    """Write points to `path` (.laz or .las); `corner` (x, y) of their tile sets the offset; `crs` from `product_crs`."""
    with _writer(path, corner, crs) as out:
        out.write_points(point_record(points, out.header))


def read_points(path: str | Path) -> tuple[Points, Any]:
    """(points, pyproj CRS or None) of a file that `write_points` wrote, or of any LAS: missing dimensions come as 0."""
    with opened_points(path) as reader:
        crs = reader.header.parse_crs()
        return points_of(reader.read_points(-1), reader.header), crs


def opened_points(path: str | Path) -> Any:
    """A laspy reader; ManifestError when the file is missing or broken."""
    try:
        return laspy.open(str(path), laz_backend=laspy.LazBackend.Lazrs)
    except FileNotFoundError:
        raise ManifestError(path, "does not exist", "run the stage that writes it") from None
    except (laspy.LaspyException, OSError, ValueError) as error:
        raise ManifestError(path, f"is no readable LAS ({error})", "delete it and run again") from None


def point_chunks(path: str | Path, size: int = CHUNK) -> Iterator[Points]:
    """The points of a file, at most `size` at a time."""
    with opened_points(path) as reader:
        for record in reader.chunk_iterator(size):
            yield points_of(record, reader.header)


def points_of(record: Any, header: Any) -> Points:
    names = set(header.point_format.dimension_names)

    def field(name: str, dtype: Any) -> Any:
        return np.array(record[name], dtype) if name in names else np.zeros(len(record), dtype)

    xyz = np.stack([np.asarray(record[k]) * s + o for k, s, o in zip("XYZ", header.scales, header.offsets, strict=True)], 1)
    rgb = np.stack([field(c, np.uint16) for c in ("red", "green", "blue")], 1)
    return Points(
        xyz, field("classification", np.uint8), field("intensity", np.uint16), field("n_views", np.uint8),
        field("confidence", np.float32), field("sigma_z", np.float32), rgb if rgb.any() else None,
        field("vote_margin", np.float32) if "vote_margin" in names else None,
    )  # fmt: skip


def merge_points(
    parts: Sequence[str | Path], path: str | Path, *, bounds: Bounds, crs: Any, lowered: Lowered | None = None
) -> int:
    """One file of the tiles' files in the given order, cut to `bounds` (west and south edge included); their number.

    lowered: metres to take from the heights at (x, y), where the datum changes. One chunk of points is in memory at a
    time.
    """
    written = 0
    with _writer(path, bounds[:2], crs) as out:
        for part in parts:
            for points in cut_chunks(part, bounds, lowered):
                out.write_points(point_record(points, out.header))
                written += len(points)
    return written


def cut_chunks(path: str | Path, bounds: Bounds, lowered: Lowered | None) -> Iterator[Points]:
    """Chunks of a file's points inside `bounds`, their heights less `lowered(x, y)`."""
    xmin, ymin, xmax, ymax = bounds
    for points in point_chunks(path):
        x, y = points.xyz[:, 0], points.xyz[:, 1]
        inside = (x >= xmin) & (x < xmax) & (y >= ymin) & (y < ymax)
        if inside.any():
            kept = subset(points, inside)
            if lowered is not None:
                kept.xyz[:, 2] -= lowered(kept.xyz[:, 0], kept.xyz[:, 1])
            yield kept


def subset(points: Points, chosen: Any) -> Points:
    """The points of a mask or of indices."""
    chosen_of: dict[str, Any] = {name: None if v is None else v[chosen] for name, v in vars(points).items()}
    return Points(**chosen_of)


def joined(parts: Sequence[Points]) -> Points:
    """Clouds as one, in their order; without colour or margins where one of them has none."""
    columns: dict[str, Any] = {name: [getattr(p, name) for p in parts] for name in vars(parts[0])}
    whole: dict[str, Any] = {name: None if any(c is None for c in v) else np.concatenate(v) for name, v in columns.items()}
    return Points(**whole)


@contextmanager
def _writer(path: str | Path, corner: tuple[float, float], crs: Any) -> Iterator[Any]:
    """A laspy writer of a file that appears under its name when it is complete."""
    header = las_header(corner, crs)
    with atomic(path) as part:
        compress = part.suffix.lower() == ".laz"
        format: dict[str, Any] = {"header": header, "do_compress": compress, "laz_backend": laspy.LazBackend.Lazrs}
        with telling(part) as file, laspy.open(file, mode="w", closefd=False, **format) as out:
            yield out
        with part.open("r+b") as file:  # laspy writes today's date; the same points shall give the same bytes
            file.seek(_CREATION_DAY.start)
            file.write(bytes(_CREATION_DAY.stop - _CREATION_DAY.start))


def las_header(corner: tuple[float, float], crs: Any) -> Any:
    """The header that all our files share."""
    header = laspy.LasHeader(version="1.4", point_format=7)
    header.add_extra_dims(list(_EXTRA))
    header.scales = np.full(3, SCALE)
    header.offsets = np.array([round(corner[0]), round(corner[1]), 0.0])
    header.generating_software = "rsmvs"
    header.vlrs.append(WktCoordinateSystemVlr(las_wkt(crs)))
    header.global_encoding.wkt = True
    return header


def point_record(points: Points, header: Any) -> Any:
    """laspy's packed points of a header."""
    record = laspy.ScaleAwarePointRecord.zeros(len(points), header=header)
    for k, name in enumerate("XYZ"):
        record[name] = np.round((points.xyz[:, k] - header.offsets[k]) / SCALE).astype(np.int32)
    record["classification"] = points.classification
    record["intensity"] = points.intensity
    record["return_number"] = np.ones(len(points), np.uint8)
    record["number_of_returns"] = np.ones(len(points), np.uint8)
    for name in ("n_views", "confidence", "sigma_z"):
        record[name] = getattr(points, name)
    none = np.full(len(points), np.nan, np.float32)
    record["vote_margin"] = none if points.vote_margin is None else points.vote_margin
    if points.rgb is not None:
        for k, name in enumerate(("red", "green", "blue")):
            record[name] = points.rgb[:, k]
    return record
