"""Samples of the refinement on the ground grid as files: one npz each, quantised."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsmvs.errors import ManifestError
from rsmvs.io.manifests import atomic
from rsmvs.types import F32

_FAR = 200.0  # cells: larger offsets are cut


class GroundSample(NamedTuple):
    """offsets: (k, h, w) candidate heights, in cells above the surface so far; channels: (k, c, h, w), -1 to 1; base: (b, h,
    w); target: (h, w) true height, in cells above the surface so far, NaN unknown; classes: (h, w) index; cell: m."""

    offsets: F32
    channels: F32
    base: F32
    target: F32
    classes: NDArray[np.int8]
    cell: float


def write_ground_sample(path: str | Path, sample: GroundSample) -> None:
    """Channels as bytes, the rest as half floats: a network is not that exact."""
    with atomic(path) as part, part.open("wb") as file:
        np.savez(
            file, offsets=np.clip(sample.offsets, -_FAR, _FAR).astype(np.float16),
            channels=np.rint(sample.channels * 127).astype(np.int8), base=sample.base.astype(np.float16),
            target=sample.target.astype(np.float16), classes=sample.classes, cell=np.float64(sample.cell),
        )  # fmt: skip


def read_ground_sample(path: str | Path) -> GroundSample:
    try:
        with np.load(path, allow_pickle=False) as s:
            return GroundSample(s["offsets"], s["channels"], s["base"], s["target"], s["classes"], float(s["cell"]))
    except FileNotFoundError:
        raise ManifestError(path, "does not exist", "check the dataset's folder") from None
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ManifestError(path, f"is no sample ({type(error).__name__})", "delete it and make it again") from None
