"""Published data sets, finished runs and relative depth maps as files that training reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from rsmvs.config import build
from rsmvs.errors import ConfigError, CoverageError, ImageError
from rsmvs.geometry.ground_truth import GroundTruth
from rsmvs.io.manifests import atomic, read_yaml, write_json
from rsmvs.io.raster import grid_of, opened, read_band, read_image
from rsmvs.io.samples import write_sample
from rsmvs.networks.rdm_mosaic import channels
from rsmvs.options import AreaOptions
from rsmvs.stages.tile import read_plan, reference_window
from rsmvs.training.prepare_options import PrepareOptions
from rsmvs.training.readers import Us3d, ViewFolders, class_index, split_tiles
from rsmvs.training.view_sets import Shot, view_set
from rsmvs.types import CLASS_CODES, F32, Sample

_BLURS = (0.0, 2.0, 8.0)  # px, as RdmOptions
_PNG_FULL = 65535.0


def prepare_options(path: str | Path) -> PrepareOptions:
    """Options of a YAML file; unknown keys are errors."""
    return build(PrepareOptions, read_yaml(path), path)


def prepare_samples(root: str | Path, options: PrepareOptions, out: str | Path) -> dict[str, int]:
    """A published data set as sample files OUT/<part>/<id>.npz; returns how many each part holds.

    View folders keep the split of their folder: prepare train/ and test/ one by one.
    """
    if options.form == "folders":
        return {"": _write(out, ViewFolders(root, options.view_num, options.ref_view))}
    if not options.sites:
        raise ConfigError("sites", "is empty", "name the sites and their views")
    parts = {name: count for name, count in (("test", options.split.test), ("val", options.split.val)) if count}
    counts = {}
    split = split_tiles(_us3d(root, options).tiles, parts)
    write_json(Path(out) / "split.json", split)
    for part, tiles in split.items():
        counts[part] = _write(Path(out) / part, _us3d(root, options).keep(tiles)) if tiles else 0
    return counts


def _us3d(root: str | Path, options: PrepareOptions) -> Us3d:
    views = {s.name: s.views for s in options.sites}
    crs = {s.name: s.crs for s in options.sites if s.crs}
    return Us3d(root, views, options.crop, options.origin, crs, options.classes)


def _write(folder: str | Path, samples: Iterable[Sample]) -> int:
    """Samples with any truth at all, one file each; returns how many."""
    count = 0
    for sample in samples:
        if np.isfinite(sample.heights).any():
            write_sample(Path(folder) / f"{sample.id}.npz", sample)
            count += 1
    if not count:
        raise CoverageError(folder, "no sample has any truth", "check that truth and images belong together")
    return count


def prepare_plan(run: str | Path, area: AreaOptions, dsm: str | Path, classes: str | Path | None, out: str | Path) -> int:
    """The view sets of a run's plan with the truth of a reference DSM: the very sets that inference works on."""
    surface, transform, crs = read_band(dsm)
    codes = None if classes is None else class_index(read_band(classes)[0], CLASS_CODES)
    grid = grid_of(transform, surface.shape, dsm)
    truth = GroundTruth(crs.to_wkt() if crs else area.crs, grid, np.asarray(surface, np.float32), codes)
    return _write(out, _planned(sorted(Path(run).glob("tiles/*/plan.json")), area, truth))


def _planned(plans: Sequence[Path], area: AreaOptions, truth: GroundTruth) -> Iterable[Sample]:
    for path in plans:
        plan = read_plan(path)
        for reference, sources in plan.sources.items() if plan.status == "ok" else ():
            views = [plan.views[v] for v in (reference, *sources)]
            windows = [reference_window(plan, view, area) for view in views]
            if windows[0] is None:
                continue
            seen = [(v, w) for v, w in zip(views, windows, strict=True) if w is not None]
            shots = [Shot(read_image(view, w), view.camera.shifted(w.col, w.row)) for view, w in seen]
            heights, classes = truth.in_view(shots[0].camera, (windows[0].width, windows[0].height))
            yield view_set(f"{plan.tile}_{reference}", shots, heights, plan.height_range, classes=classes)


def prepare_rdm(source: str | Path, out: str | Path, blurs: Sequence[float] = _BLURS) -> int:
    """Relative depth maps of one channel as maps of three, under growing Gaussian blur (px): 16-bit PNG.

    source: a file or a folder; a folder's tree is kept, so that depthAnything/<view>/<name>.png comes out as such.
    Returns how many were written.
    """
    source, out = Path(source), Path(out)
    if not source.exists():
        raise ImageError(source, "does not exist", "give a relative depth map or a folder of them")
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix.lower() in (".png", ".tif"))
    if not files:
        raise ImageError(source, "holds no PNG or TIFF", "give a relative depth map or a folder of them")
    for path in files:
        name = path.name if source.is_file() else path.relative_to(source)
        write_rdm_png((out / name).with_suffix(".png"), multi_scale(_one_channel(path), blurs))
    return len(files)


def multi_scale(depth: F32, blurs: Sequence[float] = _BLURS) -> F32:
    """(3, h, w) in 0 to 1: the map stretched to its range, under growing Gaussian blur (px)."""
    low, high = float(np.nanmin(depth)), float(np.nanmax(depth))
    return channels((depth - low) / max(high - low, 1e-9), blurs)


def write_rdm_png(path: str | Path, maps: F32) -> None:
    """Three channels as a 16-bit RGB PNG: the least blurred in red."""
    image = np.rint(np.clip(maps, 0, 1) * _PNG_FULL).astype(np.uint16)
    with atomic(path) as part:
        cv2.imwrite(str(part), np.ascontiguousarray(image[::-1].transpose(1, 2, 0)))  # OpenCV writes blue first


def _one_channel(path: Path) -> F32:
    with opened(path) as src:
        if src.count >= 3 and not np.array_equal(src.read(1), src.read(2)):
            raise ImageError(path, f"has {src.count} different bands", "give the one-channel map, not a coloured one")
        return np.asarray(src.read(1), np.float32)
