"""Training samples as files: one compressed npz each, read back bit by bit."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ManifestError
from rsmvs.geometry.warp import WarpField
from rsmvs.io.manifests import atomic
from rsmvs.types import Sample

_OPTIONAL = ("classes", "rdm", "prior")


def write_sample(path: str | Path, sample: Sample) -> None:
    arrays: dict[str, Any] = {"id": sample.id, "heights": sample.heights, "range": sample.height_range, "gsd": sample.gsd}
    arrays |= {f"image{i}": image for i, image in enumerate(sample.images)}
    for i, warp in enumerate(sample.warps):
        arrays |= {f"coefs{i}": warp.coefs, f"lattice{i}": warp.lattice, f"error{i}": warp.max_error}
    arrays |= {name: value for name in _OPTIONAL if (value := getattr(sample, name)) is not None}
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_sample(path: str | Path) -> Sample:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        n = sum(name.startswith("image") for name in arrays)
        images = tuple(arrays[f"image{i}"] for i in range(n))
        parts = ((arrays[f"coefs{i}"], arrays[f"lattice{i}"], float(arrays[f"error{i}"])) for i in range(n - 1))
        warps = tuple(WarpField(*p) for p in parts)
        low, high = (float(v) for v in arrays["range"])
        more = {name: arrays.get(name) for name in _OPTIONAL}
        return Sample(str(arrays["id"]), images, warps, arrays["heights"], height_range=(low, high), gsd=float(arrays["gsd"]),
                      **more)
    except FileNotFoundError:
        raise ManifestError(path, "does not exist", "check the dataset's folder") from None
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ManifestError(path, f"is no sample ({type(error).__name__})", "delete it and make it again") from None


class SampleFiles(Sequence[Sample]):
    """The samples of a folder, by name."""

    def __init__(self, folder: str | Path) -> None:
        self.paths = sorted(p for p in Path(folder).glob("*.npz") if not p.name.startswith("."))  # such are being written
        if not self.paths:
            raise ManifestError(folder, "holds no samples (*.npz)", "make them with 'rsmvs prepare', or check the folder")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [read_sample(p) for p in self.paths[index]]
        return read_sample(self.paths[index])
