"""Pinhole cameras of WHU-MVS, in its two spellings.

    original data set                           SatMVS and its followers
    extrinsic
    E, four lines of four                       E, four lines of four
    f x0 y0                                     f x0 y0
    DMIN DMAX DINT                              DMIN DMAX DINT
    index and five more numbers, width, height  likewise

In the first, E leads from the camera to the ground, with camera axes x right, y up, z backwards; in the second from
the ground to the camera, with x right, y down, z forwards. An aerial camera looks down, so the sign of E's element
(3, 3) tells which it is: positive for the first, negative for the second. Depths count along the optical axis.

Pixel origin: the centre of the first pixel is (0, 0), as ours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rsmvs.errors import CameraError
from rsmvs.geometry.pinhole import LOCAL_CRS, Pinhole
from rsmvs.io.manifests import atomic
from rsmvs.io.rpc_keys import text_of

_FLIP = np.diag([1.0, -1.0, -1.0])  # camera axes y up, z backwards <-> y down, z forwards


def read_whu_pinhole(path: str | Path, crs: str = LOCAL_CRS) -> Pinhole:
    """Camera of a WHU-MVS text file; `crs` is the map projection of its ground frame, where it is known."""
    extrinsic, f, x0, y0, near, far = _numbers(path)
    if extrinsic[2, 2] > 0:
        rotation, centre = _FLIP @ extrinsic[:3, :3].T, extrinsic[:3, 3]
    else:
        rotation = extrinsic[:3, :3]
        centre = -rotation.T @ extrinsic[:3, 3]
    slope = rotation[2, 2]  # height per depth on the optical axis, negative: the camera looks down
    return Pinhole(rotation, centre, f, (x0, y0), (float(centre[2] + far * slope), float(centre[2] + near * slope)), crs)


def read_depth_range(path: str | Path) -> tuple[float, float]:
    """(DMIN, DMAX) in metres along the optical axis."""
    return _numbers(path)[4:]  # type: ignore[return-value]


def write_whu_pinhole(path: str | Path, camera: Pinhole, interval: float, index: int, width: int, height: int) -> None:
    """SatMVS's spelling, at full precision. interval: of the depth hypotheses, metres."""
    rotation, slope = camera.rotation, camera.rotation[2, 2]
    extrinsic = np.eye(4)
    extrinsic[:3, :3], extrinsic[:3, 3] = rotation, -rotation @ camera.centre
    near, far = ((h - camera.centre[2]) / slope for h in reversed(camera.heights))
    lines = [" ".join(repr(float(v)) for v in row) for row in extrinsic]
    lines += ["", " ".join(repr(float(v)) for v in (camera.focal, *camera.principal)), ""]
    lines += [f"{float(near)!r} {float(far)!r} {float(interval)!r}", f"{index} 0 0 0 0 {width} {height}"]
    with atomic(path) as part:
        part.write_text("\n".join(lines) + "\n")


def _numbers(path: str | Path) -> tuple[np.ndarray, float, float, float, float, float]:
    words = text_of(path).split()
    words = words[1:] if words and words[0].lower() == "extrinsic" else words
    names = [f"E{i}{j}" for i in range(4) for j in range(4)] + ["f", "x0", "y0", "DMIN", "DMAX", "DINT"]
    values = []
    for i, name in enumerate(names):
        try:
            values.append(float(words[i]))
        except (IndexError, ValueError):
            values.append(np.nan)
        if not np.isfinite(values[-1]):
            raise CameraError(path, f"value '{name}' is missing or no finite number", "get an intact camera file")
    extrinsic = np.array(values[:16]).reshape(4, 4)
    f, x0, y0, near, far, _ = values[16:]
    if not 0 < near < far:
        raise CameraError(path, f"depth range {near:g} to {far:g} m is no range", "get an intact camera file")
    return extrinsic, f, x0, y0, near, far
