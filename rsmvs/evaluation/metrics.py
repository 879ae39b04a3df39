"""Figures of a surface and of a class map against the truth, fed block by block.

Accumulators hold distributions, not cells: their memory does not grow with the area, and the order of blocks does not
matter. Equation numbers are those of MVSR3D (seed paper on semantic 3-D reconstruction).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsmvs.types import F64

PAG_THRESHOLDS = (1.0, 2.5, 7.5)  # metres
MIOU3_THRESHOLDS = (1.0, 2.5)  # metres, those of the US3D contest
_NMAD = 1.4826  # of the median absolute deviation: one sigma of a normal distribution


class HeightErrors:
    """Distribution of height errors (m, surface minus truth) over the valid cells of a truth.

    Errors are held in bins of 1 mm with the mean of each bin, and as their sums: MAE, RMSE and mean are exact, quantiles
    and shares exact to 1 mm (exact where errors are equal). Errors past +-200 m share two bins of their own.
    """

    STEP = 0.001
    LIMIT = 200.0

    def __init__(self) -> None:
        bins = 2 * round(self.LIMIT / self.STEP) + 2
        self.counts = np.zeros(bins, np.int64)
        self.sums = np.zeros(bins)
        self.truth_cells = 0
        self.square = 0.0

    def feed(self, errors: Any) -> None:
        """Errors at valid truth cells, any shape; NaN where the surface has no value."""
        errors = np.asarray(errors, np.float64).ravel()
        self.truth_cells += errors.size
        errors = errors[np.isfinite(errors)]
        place = np.floor((np.clip(errors, -self.LIMIT - self.STEP, self.LIMIT) + self.LIMIT) / self.STEP).astype(np.int64) + 1
        place = np.clip(place, 0, len(self.counts) - 1)
        self.counts += np.bincount(place, minlength=len(self.counts))
        self.sums += np.bincount(place, errors, minlength=len(self.sums))
        self.square += float(np.dot(errors, errors))

    def _atoms(self) -> tuple[F64, NDArray[np.int64]]:
        filled = np.flatnonzero(self.counts)
        return self.sums[filled] / self.counts[filled], self.counts[filled]

    def median(self) -> float:
        """Median error in metres; NaN without any cell."""
        return _quantile(*self._atoms(), 0.5)

    def within(self, limit: float, dz: float = 0.0) -> int:
        """Number of cells with |error + dz| < limit (m)."""
        values, counts = self._atoms()
        return int(counts[np.abs(values + dz) < limit].sum())

    def misfit(self, limit: float) -> float:
        """Sum (m) over all truth cells of |error - median| up to `limit`; a missing value counts as `limit`."""
        values, counts = self._atoms()
        off = np.minimum(np.abs(values - self.median()), limit) if counts.size else values
        return float(np.dot(off, counts)) + limit * (self.truth_cells - int(counts.sum()))

    def result(self, dz: float = 0.0) -> dict[str, Any]:
        """Figures after adding `dz` (m) to the surface: metres and percent; None where there is no cell.

        mae, rmse (eqs 22, 23), mean, median, nmad, le68, le90 over cells with both values; pag_* (eq 24) and
        completeness over all valid truth cells, a missing value counting as wrong.
        """
        values, counts = self._atoms()
        n = int(counts.sum())
        figures: dict[str, Any] = {"truth_cells": self.truth_cells, "cells": n, "completeness": _percent(n, self.truth_cells)}
        for limit in PAG_THRESHOLDS:
            figures[f"pag_{limit:.1f}"] = _percent(self.within(limit, dz), self.truth_cells)
        if n == 0:
            return figures | dict.fromkeys(("mae", "rmse", "mean", "median", "nmad", "le68", "le90"))
        total = float(np.dot(values, counts))
        middle = self.median() + dz
        moved = values + dz
        figures |= {
            "mae": float(np.dot(np.abs(moved), counts)) / n,
            "rmse": float(np.sqrt(max(self.square + 2 * dz * total + n * dz * dz, 0.0) / n)),
            "mean": total / n + dz,
            "median": middle,
            "nmad": _NMAD * _quantile(np.abs(moved - middle), counts, 0.5),
            "le68": _quantile(np.abs(moved), counts, 0.68),
            "le90": _quantile(np.abs(moved), counts, 0.90),
        }
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()}

    def histogram(self, dz: float = 0.0, limit: float = 5.0, bins: int = 100) -> dict[str, Any]:
        """Counts of errors within +-limit (m) in equal bins, for a plot."""
        values, counts = self._atoms()
        found, edges = np.histogram(values + dz, bins, (-limit, limit), weights=counts)
        return {"edges": [round(float(e), 6) for e in edges], "counts": [int(c) for c in found]}


class Calibration:
    """Whether errors are as large as they are said to be: |error| against the sigma of each cell."""

    EDGES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, np.inf)  # m

    def __init__(self) -> None:
        self.within = np.zeros(2, np.int64)  # one sigma, two
        self.counts = np.zeros(len(self.EDGES) - 1, np.int64)
        self.close = np.zeros(len(self.EDGES) - 1, np.int64)
        self.sigmas = np.zeros(len(self.EDGES) - 1)
        self.squares = np.zeros(len(self.EDGES) - 1)

    def feed(self, errors: Any, sigmas: Any) -> None:
        """Errors and one-sigma values (m) of the same cells; NaN where there is none."""
        errors, sigmas = (np.asarray(v, np.float64).ravel() for v in (errors, sigmas))
        known = np.isfinite(errors) & np.isfinite(sigmas) & (sigmas > 0)
        off, sigmas = np.abs(errors[known]), sigmas[known]
        self.within += np.array([(off < k * sigmas).sum() for k in (1, 2)])
        place = np.searchsorted(self.EDGES, sigmas, side="right") - 1
        size = len(self.counts)
        self.counts += np.bincount(place, minlength=size)
        self.close += np.bincount(place[off < sigmas], minlength=size)
        self.sigmas += np.bincount(place, sigmas, minlength=size)
        self.squares += np.bincount(place, off**2, minlength=size)

    def result(self) -> dict[str, Any]:
        """Shares of cells within one and two sigma (percent; 68 and 95 for normal errors), and by size of sigma."""
        n = int(self.counts.sum())
        bins = [
            {
                "cells": int(c),
                "sigma": round(s / c, 4),
                "rmse": round(float(np.sqrt(q / c)), 4),
                "within_1": _percent(int(k), int(c)),
            }
            for c, k, s, q in zip(self.counts, self.close, self.sigmas, self.squares, strict=True)
            if c
        ]
        return {
            "cells": n,
            "within_1": _percent(int(self.within[0]), n),
            "within_2": _percent(int(self.within[1]), n),
            "bins": bins,
        }


class Volumes:
    """What stands on the ground, in plan and in volume: completeness, correctness and IoU as CORE3D has them.

    Completeness is the share of the truth that is found, correctness the share of what is found that is true. Volumes
    count above the truth's terrain, the same for both.
    """

    def __init__(self) -> None:
        self.area = np.zeros(3)  # cells: both, surface, truth
        self.volume = np.zeros(3)  # cells x metres

    def feed(self, surface: Any, truth: Any, standing: Any, truly_standing: Any) -> None:
        """Heights above the truth's terrain (m; NaN without), and masks of the cells where something stands."""
        found = np.asarray(standing, bool) & np.isfinite(surface)
        real = np.asarray(truly_standing, bool) & np.isfinite(truth)
        self.area += np.array([(found & real).sum(), found.sum(), real.sum()])
        ours, theirs = (np.where(m, np.maximum(np.nan_to_num(h), 0), 0) for m, h in ((found, surface), (real, truth)))
        self.volume += np.array([np.minimum(ours, theirs).sum(), ours.sum(), theirs.sum()])

    def result(self) -> dict[str, dict[str, float]]:
        """Percent, for `area` and for `volume`."""
        out = {}
        for name, (both, surface, truth) in (("area", self.area), ("volume", self.volume)):
            shares = (both / w if w else 0.0 for w in (truth, surface, surface + truth - both))
            out[name] = dict(
                zip(("completeness", "correctness", "iou"), (round(100.0 * float(s), 4) for s in shares), strict=True)
            )
        return out


def _percent(part: int, whole: int) -> float:
    return round(100.0 * part / whole, 4) if whole else 0.0


def _quantile(values: F64, counts: NDArray[np.int64], share: float) -> float:
    """Quantile of values that occur `counts` times, linear between ranks as numpy's default."""
    if not counts.size:
        return float("nan")
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(counts[order])
    rank = share * (int(upto[-1]) - 1)
    low, high = np.floor(rank), np.ceil(rank)
    a, b = (values[order[np.searchsorted(upto, r, side="right")]] for r in (low, high))
    return float(a + (b - a) * (rank - low))


class ClassErrors:
    """Confusion of a class map with the truth, with and without the heights.

    classes: the labels that count, in the order of the results. Truth cells with another label are left out; a
    prediction with another label (also: none) at a counted cell is a miss of the truth's class and no false alarm.
    """

    def __init__(self, classes: tuple[int, ...]) -> None:
        self.classes = tuple(classes)
        k = len(self.classes)
        self.confusion = np.zeros((k, k + 1), np.int64)  # truth by prediction; last column: none of the classes
        self.close = np.zeros((len(MIOU3_THRESHOLDS), k), np.int64)  # right class and |height error| < threshold

    def feed(self, predicted: Any, truth: Any, height_errors: Any | None = None) -> None:
        """Labels of equal shape; height_errors (m, NaN without value) of the same cells where known."""
        k = len(self.classes)
        t, p = self._index(truth), self._index(predicted)
        counted = t < k
        self.confusion += np.bincount(t[counted] * (k + 1) + p[counted], minlength=k * (k + 1)).reshape(k, k + 1)
        if height_errors is None:
            return
        off = np.abs(np.asarray(height_errors, np.float64).ravel())
        for i, limit in enumerate(MIOU3_THRESHOLDS):
            self.close[i] += np.bincount(t[counted & (t == p) & (off < limit)], minlength=k)  # NaN compares false

    def _index(self, labels: Any) -> NDArray[np.int64]:
        labels = np.asarray(labels).ravel()
        index = np.full(labels.shape, len(self.classes), np.int64)
        for i, label in enumerate(self.classes):
            index[labels == label] = i
        return index

    def result(self, heights: bool = True) -> dict[str, Any]:
        """IoU (eq 18), F1 (eqs 20, 21) per class in percent, and their means over classes that occur (eqs 19, 20).

        With heights, mIoU3 (eqs 25, 26) for each threshold: `lenient` as the equation reads (a right class with a
        wrong height leaves the denominator), `strict` keeps it there.
        """
        k = len(self.classes)
        hit = np.diagonal(self.confusion[:, :k]).astype(np.float64)
        false_alarm = self.confusion[:, :k].sum(0) - hit
        missed = self.confusion.sum(1) - hit
        occurs = hit + false_alarm + missed > 0
        iou = _ratio(hit, hit + false_alarm + missed)
        f1 = _ratio(2 * hit, 2 * hit + false_alarm + missed)  # 2PR / (P + R)
        out: dict[str, Any] = {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "iou": _percents(iou),
            "f1": _percents(f1),
            "miou": _mean_percent(iou, occurs),
            "mean_f1": _mean_percent(f1, occurs),
            "accuracy": _percent(int(hit.sum()), int(self.confusion.sum())),
        }
        for i, limit in enumerate(MIOU3_THRESHOLDS if heights else ()):
            close = self.close[i].astype(np.float64)
            out[f"miou3_{limit:.1f}"] = {
                "lenient": _mean_percent(_ratio(close, close + false_alarm + missed), occurs),
                "strict": _mean_percent(_ratio(close, hit + false_alarm + missed), occurs),
            }
        return out


def _ratio(part: F64, whole: F64) -> F64:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _percents(values: F64) -> list[float]:
    return [round(100.0 * float(v), 4) for v in values]


def _mean_percent(values: F64, occurs: NDArray[np.bool_]) -> float | None:
    return round(100.0 * float(values[occurs].mean()), 4) if occurs.any() else None
