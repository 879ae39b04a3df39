"""Tie points of a view, and the sparse points of the adjustment, as NumPy archives."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ManifestError
from rsmvs.io.manifests import atomic
from rsmvs.types import F64

TIES_REVISION = 1
POINTS_REVISION = 2
_TIES = ("view", "partners", "ref_xy", "obs_point", "obs_partner", "obs_xy", "obs_score", "notes")
_POINTS = ("lon", "lat", "h", "n_views", "residual", "sigma_h", "batch")


def write_ties(path: str | Path, **arrays: Any) -> None:
    """matches/{view}.npz. view, partners (p,): ids; ref_xy (n, 2) pixels of the view; per observation obs_point and
    obs_partner (indices), obs_xy (m, 2) pixels of the partner, obs_score (correlation); notes (p,): why there are none."""
    _write(path, _TIES, TIES_REVISION, arrays)


def read_ties(path: str | Path) -> dict[str, Any]:
    return _read(path, _TIES, TIES_REVISION)


def write_points(path: str | Path, **arrays: F64) -> None:
    """adjusted/points.npz, (n,) each: lon, lat (degrees), h (ellipsoidal m), n_views, residual (RMS, px), sigma_h (m), batch:
    with which addition of views to the area they came, from 0."""
    _write(path, _POINTS, POINTS_REVISION, arrays)


def read_points(path: str | Path) -> dict[str, Any]:
    return _read(path, _POINTS, POINTS_REVISION)


def _write(path: str | Path, names: tuple[str, ...], revision: int, arrays: dict[str, Any]) -> None:
    with atomic(path) as part, part.open("wb") as file:  # NumPy dates its archives 1980: same content, same bytes
        content: dict[str, Any] = {name: np.asarray(arrays[name]) for name in names}
        np.savez_compressed(file, revision=revision, **content)


def _read(path: str | Path, names: tuple[str, ...], revision: int) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if int(archive["revision"]) != revision:
                raise ManifestError(path, f"has revision {int(archive['revision'])}, not {revision}", "delete it and run again")
            return {name: archive[name] for name in names}
    except FileNotFoundError:
        raise ManifestError(path, "does not exist", "run the stage that writes it") from None
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ManifestError(path, f"is not complete ({error})", "delete it and run again") from None
