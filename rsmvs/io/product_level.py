"""Sensor image, ortho-ready or true orthoimage: which kind of product an image is, and whether stereo can use it.

    sensor       as the sensor saw it; the camera describes it. Used.
    ortho-ready  mapped to a plane or a smooth surface at one height; its RPC goes with it, and parallax is still there. Used.
    ortho        mapped to the terrain; the relief is taken out, and an RPC inside is of another image. Refused.

Metadata tell it for the big vendors. Without them, or against them, the geometry does: the map coordinates of an
ortho-ready image agree with its camera at one constant height, those of an orthoimage at none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pyproj import Transformer

from rsmvs.io.rpc_files import crop_offset
from rsmvs.io.sidecars import read_sidecar
from rsmvs.types import Camera

SENSOR, ORTHO_READY, ORTHO = "sensor", "ortho-ready", "ortho"
_WORDS = {
    ORTHO: ("ORTHO", "LV3", "LV4", "MOSAIC", "ARD"),
    ORTHO_READY: ("PROJECTED", "LV2", "OR2A", "ORSTANDARD", "STANDARD", "GEO", "2A"),
    SENSOR: ("SENSOR", "LV1", "BASIC", "PRIMARY", "1A", "1B", "PERFECT"),
}
_TAGS = ("GEOMETRIC_PROCESSING", "GEOMETRIC_GEOMETRIC_PROCESSING", "PROCESSING_LEVEL", "productLevel")
_AGREES_PX = 3.0  # map coordinates of real ortho-ready products are that good
_PLACES, _HEIGHTS = 6, 61


class Level(NamedTuple):
    name: str
    why: str


def product_level(path: str | Path, dataset: Any, camera: Camera | None) -> Level:
    """What an opened image is. `camera`: the one found for it, if any."""
    told, source = _told(path, dataset)
    if not _is_mapped(dataset):
        if told == ORTHO:
            return Level(ORTHO, f"{source} says so")
        return Level(told or SENSOR, f"{source} says so" if told else "it has no map coordinates")
    if camera is None:
        return Level(ORTHO, "it has map coordinates and no camera")
    height, rms = _best_height(dataset, camera)
    if rms <= _AGREES_PX:
        return Level(ORTHO_READY, f"its map coordinates agree with its camera at height {height:.0f} m, to {rms:.2f} px")
    return Level(ORTHO, f"its map coordinates agree with its camera at no height (best {rms:.0f} px apart)")


def _told(path: str | Path, dataset: Any) -> tuple[str, str]:
    """(level, where it stands) of the metadata; ('', '') when they are silent."""
    tags = dataset.tags() | dataset.tags(ns="IMD")
    words = [(tags[key], f"its tag {key}={tags[key]}") for key in _TAGS if key in tags]
    sidecar = read_sidecar(path)
    if sidecar is not None and "level" in sidecar.values:
        words.append((sidecar.values["level"], f"{Path(sidecar.path).name} ({sidecar.values['level']})"))
    for word, source in words:
        for level, names in _WORDS.items():
            if word.upper().strip('" ').startswith(names):
                return level, source
    return "", ""


def _is_mapped(dataset: Any) -> bool:
    return dataset.crs is not None and not dataset.transform.is_identity and crop_offset(dataset) == (0.0, 0.0)


def _best_height(dataset: Any, camera: Camera) -> tuple[float, float]:
    """Constant height (m) at which map coordinates and camera agree best, and the RMS distance in px there."""
    col, row = (a.ravel() for a in np.meshgrid(*(np.linspace(0, n - 1, _PLACES) for n in (dataset.width, dataset.height))))
    t, c, r = dataset.transform, col + 0.5, row + 0.5  # the transform speaks of pixel corners
    x, y = t.a * c + t.b * r + t.c, t.d * c + t.e * r + t.f
    lon, lat = Transformer.from_crs(dataset.crs.to_wkt(), "EPSG:4326", always_xy=True).transform(x, y)
    lon, lat = np.asarray(lon), np.asarray(lat)
    low, high = camera.height_range
    low, high = low - (high - low), high + (high - low)  # the plane need not lie where the camera was fitted
    for _ in range(3):
        heights = np.linspace(low, high, _HEIGHTS)
        u, v = camera.project(lon[:, None], lat[:, None], heights[None])
        rms = np.sqrt(np.mean((u - col[:, None]) ** 2 + (v - row[:, None]) ** 2, axis=0))
        best = int(np.nanargmin(np.where(np.isfinite(rms), rms, np.inf)))
        step = heights[1] - heights[0]
        low, high = heights[best] - step, heights[best] + step
    return float(heights[best]), float(rms[best])
