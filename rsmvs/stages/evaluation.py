"""Surfaces and class maps against references: files to figures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rsmvs.errors import ConfigError
from rsmvs.evaluation.scoring import Scene, score, score_classes
from rsmvs.io.manifests import write_json
from rsmvs.io.raster import opened
from rsmvs.io.references import is_cloud, raster_reference
from rsmvs.io.surfaces import opened_surface, plane_crs, vertical_datum
from rsmvs.options import ReferenceOptions

EVALUATE_REVISION = 5


def evaluate(
    dsm: str | Path,
    reference: ReferenceOptions,
    out_json: str | Path | None = None,
    *,
    classes: str | Path | None = None,
    uncertainty: str | Path | None = None,
) -> dict[str, Any]:
    """Figures of a DSM against `reference.dsm`, by `reference.classes` where set; written where asked.

    A reference of LAS points counts as the highest point in each cell of the DSM, and its classes are those of the
    reference where no others are set. With a class map its figures, with an uncertainty raster (m) whether errors are as
    large as it says. A `note` tells where the two say that their heights count from different datums: nothing is converted.

    See `rsmvs.evaluation.scoring.score` for what the figures are. Errors: ConfigError without a reference, ImageError
    for unreadable files, CoverageError for a reference without heights.
    """
    if reference.dsm is None:
        raise ConfigError("reference.dsm", "is not set", "name the DSM to evaluate against")
    with ExitStack() as files:
        real = files.enter_context(raster_reference(reference.dsm, dsm))
        labels = _labels(files, reference.classes, dsm) if reference.classes else real.classes
        truth = files.enter_context(opened_surface(real.surface))
        crs = plane_crs(truth)

        def surface(path: str | Path | None) -> Any:
            return None if path is None else files.enter_context(opened_surface(path, crs))

        maps = (surface(p) for p in (labels, classes, uncertainty, reference.dtm))
        scene = Scene(surface(dsm), truth, *maps)
        result = {"revision": EVALUATE_REVISION} | score(scene, max_shift=reference.max_shift)
        above, there = vertical_datum(scene.surface), vertical_datum(truth)
        if above and there and above != there:
            result["note"] = f"heights count from the {above}, those of the reference from the {there}; compared as they are"
    if out_json is not None:
        write_json(out_json, result)
    return result


def evaluate_classes(classes: str | Path, reference: str | Path, out_json: str | Path | None = None) -> dict[str, Any]:
    """Figures (`classes`) of a class map against another one or classified LAS points, without any heights."""
    with ExitStack() as files:
        truth = files.enter_context(opened_surface(_labels(files, reference, classes)))
        found = files.enter_context(opened_surface(classes, plane_crs(truth)))
        result = {"revision": EVALUATE_REVISION, "classes": score_classes(found, truth)}
    if out_json is not None:
        write_json(out_json, result)
    return result


def _labels(files: ExitStack, path: str | Path, like: str | Path) -> Path:
    """A raster of reference classes; ConfigError when it has none."""
    if not is_cloud(path):
        return Path(path)
    classes = files.enter_context(raster_reference(path, like)).classes
    if classes is None:
        raise ConfigError("reference.classes", f"{path} holds no classified points", "classify it or leave it out")
    return classes


def is_class_map(path: str | Path) -> bool:
    """Whether a raster holds classes (bytes) rather than heights."""
    if is_cloud(path):
        return False
    with opened(path) as src:
        return bool(src.dtypes[0] == "uint8")
