"""The command `pdal`, where it is installed: cleaning of point clouds, and its writer of COPC."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import laspy
import numpy as np
from numpy.typing import NDArray

from rsmvs.errors import ConfigError, RsmvsError
from rsmvs.geometry.grid import Bounds
from rsmvs.io.manifests import atomic
from rsmvs.io.pointcloud import NOISE, SCALE, Lowered, merge_points
from rsmvs.types import F64


def installed() -> bool:
    return shutil.which("pdal") is not None


def outlying(xyz: F64, neighbours: int, sigmas: float) -> NDArray[np.bool_]:
    """Which points (n, 3), in metres, PDAL's statistical filter takes for noise, (n,): as `rsmvs.fusion.outliers` finds them.

    Coordinates go to PDAL in millimetres, as they are stored. Errors: ConfigError without it, RsmvsError when it fails.
    """
    if len(xyz) <= neighbours:
        return np.zeros(len(xyz), bool)
    with tempfile.TemporaryDirectory(prefix="rsmvs-") as folder:
        given, marked = Path(folder) / "points.las", Path(folder) / "marked.las"
        _write_places(given, xyz)
        noise = {"type": "filters.outlier", "method": "statistical", "mean_k": neighbours, "multiplier": sigmas, "class": NOISE}
        run([str(given), noise, {"type": "writers.las", "filename": str(marked), "minor_version": 4, "dataformat_id": 6}])
        return np.asarray(laspy.read(marked).classification == NOISE)


def write_copc(
    parts: Sequence[str | Path], path: str | Path, *, bounds: Bounds, crs: Any, lowered: Lowered | None = None
) -> int:
    """As `rsmvs.io.copc.write_copc`, by PDAL's writer, which holds the whole scene in memory.

    Errors: ConfigError without the command, or where it has no such writer (before PDAL 2.4).
    """
    if "writers.copc" not in _drivers():
        remedy = "install PDAL 2.4 or later, or set 'copclib'"
        raise ConfigError("products.copc", "the installed pdal has no writer of COPC", remedy)
    with tempfile.TemporaryDirectory(prefix="rsmvs-") as folder, atomic(path) as part:
        whole = Path(folder) / "points.laz"
        count = merge_points(parts, whole, bounds=bounds, crs=crs, lowered=lowered)
        run([str(whole), {"type": "writers.copc", "filename": str(part), "forward": "all"}])
    return count


def run(stages: Sequence[str | dict[str, Any]]) -> None:
    """A pipeline of PDAL; RsmvsError with its own last words when it fails."""
    command = [_command(), "pipeline", "--stdin"]
    done = subprocess.run(command, input=json.dumps(list(stages)), text=True, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RsmvsError("pdal", f"failed ({said})", "set fuse.cleaner to 'scipy' and products.copc to 'copclib'")


def _command() -> str:
    found = shutil.which("pdal")
    if found is None:
        remedy = "install PDAL, or set fuse.cleaner to 'auto' and products.copc to 'copclib'"
        raise ConfigError("pdal", "the command is not found", remedy)
    return found


def _drivers() -> set[str]:
    return _drivers_of(_command())


@lru_cache(maxsize=2)
def _drivers_of(command: str) -> set[str]:
    listed = subprocess.run([command, "--drivers"], text=True, capture_output=True, check=False).stdout
    return {line.split()[0] for line in listed.splitlines() if line.strip()}


def _write_places(path: Path, xyz: F64) -> None:
    header = laspy.LasHeader(version="1.4", point_format=6)
    header.scales, header.offsets = np.full(3, SCALE), np.floor(xyz.min(axis=0))
    record = laspy.ScaleAwarePointRecord.zeros(len(xyz), header=header)
    for k, name in enumerate("XYZ"):
        record[name] = np.round((xyz[:, k] - header.offsets[k]) / SCALE).astype(np.int32)
    with laspy.open(str(path), mode="w", header=header) as out:
        out.write_points(record)
