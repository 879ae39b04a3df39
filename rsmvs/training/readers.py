"""Published data sets as map-style data sets of `Sample`; their folders and files as their authors left them."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.errors import ManifestError
from rsmvs.geometry.ground_truth import GroundTruth
from rsmvs.geometry.pinhole import Pinhole
from rsmvs.io.raster import opened, read_band
from rsmvs.io.rpc_files import find_camera, read_camera
from rsmvs.io.truth_files import read_dfc_grid, read_grey, read_relative_depth, read_truth
from rsmvs.training.view_sets import Shot, view_set
from rsmvs.types import CLASS_CODES, F32, UNLABELLED, Camera, Sample, Window

_IMAGES = (".png", ".tif", ".tiff", ".jpg")
_TRUTH = (".pfm", ".png", ".tif", ".tiff")


class ViewFolders(Sequence[Sample]):
    """WHU-MVS and WHU-TLC as SatMVS and its followers keep them: image/<view>/<name>, with the same names in camera/ or
    rpc/ (pinhole or RPC), depth/ or height/, and perhaps depthAnything/ (three-channel relative depth).

    view_num: views of a set; ref_view: folder of the reference, the sources are its nearest neighbours by number. WHU-TLC
    stands on an invented place on Earth (UTM with central meridian -135): nothing here asks where it is.
    """

    def __init__(self, root: str | Path, view_num: int = 3, ref_view: int = 2) -> None:
        self.root = Path(root)
        self.cameras, self.truth = self._one_of("camera", "rpc"), self._one_of("depth", "height")
        views = sorted(int(p.name) for p in self._one_of("image").iterdir() if p.name.isdigit())
        if ref_view not in views or len(views) < view_num:
            raise ManifestError(root, f"has the views {views}", f"{view_num} with the reference {ref_view} are asked for")
        self.views = sorted(views, key=lambda v: (abs(v - ref_view), v))[:view_num]
        self.names = sorted(p.stem for p in (self.root / "image" / str(ref_view)).iterdir() if p.suffix.lower() in _IMAGES)
        if not self.names:
            raise ManifestError(self.root / "image" / str(ref_view), "holds no images", "check the data set's folder")

    @cached_property
    def geo_model(self) -> str:
        """What the cameras are, by the first of them: rpc or pinhole."""
        return self._camera(self.views[0], self.names[0]).kind

    def _one_of(self, *names: str) -> Path:
        for name in names:
            if (self.root / name).is_dir():
                return self.root / name
        raise ManifestError(self.root, f"has no folder {' or '.join(names)}", "give the folder that holds image/")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        name = self.names[index]
        shots = [self._shot(view, name) for view in self.views]
        values = read_truth(_file(self.truth / str(self.views[0]), name, _TRUTH))
        camera = shots[0].camera
        if self.truth.name == "depth" and isinstance(camera, Pinhole):
            values = heights_of_depths(values, camera)
        rdm = self.root / "depthAnything" / str(self.views[0])
        channels = read_relative_depth(_file(rdm, name, _IMAGES)) if rdm.is_dir() else None
        return view_set(name, shots, values, camera.height_range, rdm=channels)

    def _shot(self, view: int, name: str) -> Shot:
        image = read_grey(_file(self.root / "image" / str(view), name, _IMAGES))
        return Shot(image, self._camera(view, name))

    def _camera(self, view: int, name: str) -> Camera:
        return read_camera(_file(self.cameras / str(view), name, (".txt", ".rpc")))


def _file(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    for suffix in suffixes:
        if (folder / f"{name}{suffix}").is_file():
            return folder / f"{name}{suffix}"
    raise ManifestError(folder / name, f"does not exist as {', '.join(suffixes)}", "check the data set's folder")


def heights_of_depths(depths: F32, camera: Pinhole) -> F32:
    """Heights (m) of depths along the optical axis (m), one a pixel."""
    row, col = np.indices(depths.shape)
    x, y = (col - camera.principal[0]) / camera.focal, (row - camera.principal[1]) / camera.focal
    rays = np.stack([x, y, np.ones_like(x)])
    return np.asarray(camera.centre[2] + depths * np.tensordot(camera.rotation[:, 2], rays, axes=1), np.float32)


class Us3d(Sequence[Sample]):
    """DFC2019 track 3, US3D, and SpaceNet 4 in their form: <site>_<tile>_<view>_RGB.tif with RPCs in the tags, and
    <site>_<tile>_DSM.tif, _CLS.tif, _DSM.txt, in any folders under the root. The DSM is laid into the reference by ray
    casting, so that what it hides has the height of what hides it.

    views: per site the view numbers, the reference first. crs: per site, where the DSM's file has none. origin: see
    `read_dfc_grid`. classes: codes in the files that stand for themselves; other ones become 'other', 65 unlabelled.
    """

    def __init__(self, root: str | Path, views: dict[str, tuple[int, ...]], crop: int = 512, origin: str = "corner",
                 crs: dict[str, str] | None = None, classes: tuple[int, ...] = CLASS_CODES) -> None:
        self.root, self.crop, self.origin, self.crs, self.codes = Path(root), crop, origin, crs or {}, classes
        files = {p.name: p for p in sorted(self.root.rglob("*_RGB.tif"))}
        tiles: dict[str, dict[int, Path]] = defaultdict(dict)
        for name, path in files.items():
            found = re.fullmatch(r"([A-Za-z]+_\d+)_(\d+)_RGB\.tif", name)
            if found:
                tiles[found[1]][int(found[2])] = path
        self.sets: list[tuple[str, list[Path]]] = []
        for tile in sorted(tiles):
            wanted = views.get(tile.split("_")[0], ())
            if wanted and all(v in tiles[tile] for v in wanted):
                self.sets.append((tile, [tiles[tile][v] for v in wanted]))
        if not self.sets:
            raise ManifestError(root, f"holds no tile with the views {views}", "check folder and selection")
        self._counts = [self._crops(paths[0]) for _, paths in self.sets]
        self._last: tuple[str, Any] = ("", None)

    def _crops(self, path: Path) -> tuple[int, int]:
        with opened(path) as src:
            return src.height // self.crop, src.width // self.crop

    @property
    def tiles(self) -> list[str]:
        return [tile for tile, _ in self.sets]

    def keep(self, tiles: Sequence[str]) -> Us3d:
        """Only these tiles, in place."""
        chosen = [k for k, (tile, _) in enumerate(self.sets) if tile in set(tiles)]
        self.sets, self._counts = [self.sets[k] for k in chosen], [self._counts[k] for k in chosen]
        return self

    def __len__(self) -> int:
        return sum(rows * cols for rows, cols in self._counts)

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        for (tile, paths), (rows, cols) in zip(self.sets, self._counts, strict=True):
            if index < rows * cols:
                return self._sample(tile, paths, index // cols, index % cols)
            index -= rows * cols
        raise IndexError(index)

    def _sample(self, tile: str, paths: list[Path], row: int, col: int) -> Sample:
        if self._last[0] != tile:  # crops of a tile follow each other
            shots = [self._shot(p) for p in paths]
            height, width = shots[0].image.shape
            truth = self._truth(tile)
            low, high = float(np.nanmin(truth.surface)), float(np.nanmax(truth.surface))
            self._last = tile, (shots, *truth.in_view(shots[0].camera, (width, height)), (low - 5.0, high + 5.0))
        shots, heights, classes, search = self._last[1]
        window = Window(col * self.crop, row * self.crop, self.crop, self.crop)
        area = slice(window.row, window.row + self.crop), slice(window.col, window.col + self.crop)
        labels = None if classes is None else classes[area]
        return view_set(f"{tile}_{row}_{col}", shots, heights[area], search, window=window, classes=labels)

    def _shot(self, path: Path) -> Shot:
        with opened(path) as dataset:
            camera, _ = find_camera(str(path), dataset)
        return Shot(read_grey(path), camera)

    def _truth(self, tile: str) -> GroundTruth:
        dsm = self._find(f"{tile}_DSM.tif")
        surface = read_truth(dsm)
        grid = read_dfc_grid(self._find(f"{tile}_DSM.txt"), self.origin)
        _, _, crs = read_band(dsm)
        name = crs.to_string() if crs else self.crs.get(tile.split("_")[0])
        if name is None:
            raise ManifestError(dsm, "has no CRS", "name the site's UTM zone as 'crs'")
        if surface.shape != grid.shape:
            raise ManifestError(dsm, f"has {surface.shape} cells, its text file says {grid.shape}", "get intact files")
        codes, _, _ = read_band(self._find(f"{tile}_CLS.tif"))
        return GroundTruth(name, grid, surface, class_index(codes, self.codes))

    def _find(self, name: str) -> Path:
        found = next(iter(sorted(self.root.rglob(name))), None)
        if found is None:
            raise ManifestError(self.root / name, "does not exist", "check the data set's folder")
        return found


def class_index(codes: Any, known: tuple[int, ...]) -> Any:
    """Index into CLASS_NAMES of LAS codes: those of `known` as they are, 0 and 65 unlabelled, all else 'other'."""
    table = np.full(256, CLASS_CODES.index(1), np.int8)
    for code in known:
        table[code] = CLASS_CODES.index(code)
    table[[0, 65]] = UNLABELLED
    return table[np.asarray(codes, np.uint8)]


def split_tiles(tiles: Sequence[str], parts: dict[str, int]) -> dict[str, list[str]]:
    """Tiles of each part: `parts` names how many go to which, the rest to 'train'. By a hash of the name, so that a new
    tile moves no other; which tiles the papers' authors took is not known."""
    order = sorted(tiles, key=lambda t: hashlib.sha256(t.encode()).hexdigest())
    out: dict[str, list[str]] = {}
    for name, count in parts.items():
        out[name], order = sorted(order[:count]), order[count:]
    return {**out, "train": sorted(order)}
