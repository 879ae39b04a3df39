"""View selection: which views are matched with which, for one piece of ground.

A pair is worth what its weakest side allows, so its score is a product of terms in 0 ... 1:
    angle     exp(-ln(angle / best_angle)^2 / (2 * 0.7^2)): too narrow tells little of height, too wide looks different
    overlap   share of the ground that both see, without nodata and masked pixels
    gsd       ratio of the finer to the coarser ground sampling distance
    time      1 / (1 + (days / max_days)^2): what changed in between does not match (Facciolo et al. 2017: the strongest
              predictor of a pair's completeness); 1 where a date is unknown
    sun       exp(-(angle between the sun's directions / 40 deg)^2): shadows move; 1 where unknown
    ties      share of its tie points that one view shares with the other, against the best partners of both: what the
              images themselves say of changes; 1 where none were measured
A set is a reference with its sources; its score is the chance that some source serves, 1 - prod(1 - score), times the
share of the ground that the reference itself sees. Sources are taken one by one, best first, each weighed by how far
its line of sight is from those already taken: a second look from the same place adds little, a duplicate nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

import numpy as np

from rsmvs.geometry.viewing import angle_between
from rsmvs.options import SelectOptions
from rsmvs.types import F64, View

_ANGLE_SPREAD = 0.7  # of ln(angle): half the score at 0.44 and 2.3 times the best angle
_SUN_SPREAD = 40.0  # degrees
_NEIGHBOURS, _WITNESSES = 12, 2  # of a tie point
_SAME_HEIGHT, _SLOPE = 10.0, 0.3  # m, and m per m of distance
_SAME_PLACE = 5.0  # degrees between two sources past which the second is as good as new
_LEAST_NOVELTY = 0.05  # of a reference from the same place: another date, another shadow


@dataclass(frozen=True, eq=False)
class Sight:
    """A view as one piece of ground sees it. share: of that ground, visible with data; direction: (3,) unit vector,
    east-north-up, towards the sensor."""

    view: View
    share: float
    direction: F64


@dataclass(frozen=True)
class Pair:
    """score 0 ... 1, its terms, and what they come from; `barred` says why the pair may not be used, '' if it may."""

    score: float
    terms: dict[str, float]
    angle: float  # degrees
    days: float | None
    barred: str

    def why(self) -> str:
        days = "dates unknown" if self.days is None else "same day" if self.days < 1 else f"{self.days:.0f} days apart"
        ties = f", {100 * self.terms['ties']:.0f} % of the best pairs' tie points" if self.terms["ties"] < 0.995 else ""
        return f"{self.angle:.1f} degrees, {100 * self.terms['overlap']:.0f} % overlap, {days}{ties}"


def rate_pairs(
    sights: Sequence[Sight],
    overlap: Mapping[tuple[str, str], float],
    options: SelectOptions,
    ties: Mapping[tuple[str, str], float] | None = None,
) -> dict[tuple[str, str], Pair]:
    """Score of every pair of views, under (id, id) sorted.

    overlap: share of the ground that both see, same keys. ties: share of tie points that the views of a pair have in
    common, in the whole scene, same keys, if measured.
    """
    pairs = {}
    for a, b in combinations(sorted(sights, key=lambda s: s.view.id), 2):
        key = (a.view.id, b.view.id)
        angle, days = float(angle_between(a.direction, b.direction)), days_between(a.view, b.view)
        terms = {
            "angle": math.exp(-0.5 * (math.log(max(angle, 1e-3) / options.best_angle) / _ANGLE_SPREAD) ** 2),
            "overlap": overlap[key],
            "gsd": min(a.view.gsd, b.view.gsd) / max(a.view.gsd, b.view.gsd),
            "time": 1.0 if days is None or options.max_days == 0 else 1.0 / (1.0 + (days / options.max_days) ** 2),
            "sun": _sun_term(a.view, b.view),
            "ties": _ties_term(key, ties),
        }
        barred = ""
        if not options.min_angle <= angle <= options.max_angle:
            barred = f"{angle:.1f} degrees are outside {options.min_angle:g} to {options.max_angle:g}"
        elif overlap[key] < options.min_overlap:
            barred = f"{100 * overlap[key]:.0f} % overlap are less than {100 * options.min_overlap:.0f} %"
        pairs[key] = Pair(math.prod(terms.values()), terms, angle, days, barred)
    return _without_distant_dates(pairs, options)


def rank_sets(sights: Sequence[Sight], pairs: Mapping[tuple[str, str], Pair], options: SelectOptions) -> list[dict[str, Any]]:
    """View sets, best first, as records of plan.json; empty where no pair is usable.

    Every view of a set is the reference of a set too: the consistency check then has a height map on both sides. So
    the best `max_sets` views are chosen first, each gets its best set among them, and what is left of `max_sets`
    goes to second-best sets where `sets_per_reference` allows them.
    """
    by_id = {s.view.id: s for s in sights}
    members = _best_group(by_id, pairs, options.max_sets)
    candidates = []
    for reference in sorted(members):
        sources = {i: p for i in sorted(members) if i != reference and not (p := _pair(pairs, reference, i)).barred}
        for rank, chosen in enumerate(_source_sets(by_id, sources, options)):
            candidates.append((rank, _record(by_id[reference], chosen, sources)))
    candidates.sort(key=lambda c: (c[0], -c[1]["score"], c[1]["reference"]))
    best = [record for _, record in candidates[: options.max_sets]]
    return sorted(best, key=lambda s: (-s["score"], s["reference"], s["sources"]))


def _best_group(by_id: Mapping[str, Sight], pairs: Mapping[tuple[str, str], Pair], size: int) -> set[str]:
    """Up to `size` views, each with a usable partner among them.

    The best pair, then whoever pairs best with the group and looks from somewhere else; when nobody pairs with it, the
    best pair of the others: the images of another date.
    """
    good = {key: p.score for key, p in sorted(pairs.items()) if not p.barred}
    group: set[str] = set()
    while True:
        members = [by_id[i] for i in sorted(group)]
        new = {i: _LEAST_NOVELTY + _novelty(by_id[i], members) for i in sorted(by_id) if i not in group}
        grown = {k: score * min(new[i] for i in k if i in new) for k, score in good.items() if len(group.intersection(k)) == 1}
        if not grown or len(group) >= size:
            grown = {key: score for key, score in good.items() if not group.intersection(key)}
            if not grown or len(group) + 2 > size:
                return group
        best: tuple[str, str] = max(grown, key=lambda k: grown[k])
        group.update(best)


def _source_sets(by_id: Mapping[str, Sight], sources: Mapping[str, Pair], options: SelectOptions) -> list[list[str]]:
    """Source lists of one reference, best first: the greedy best, then the best combinations of as many sources."""
    chosen: list[str] = []
    while len(chosen) < options.max_sources:
        gain = {i: p.score * _novelty(by_id[i], [by_id[c] for c in chosen]) for i, p in sources.items() if i not in chosen}
        if not gain or max(gain.values()) < options.min_score * max(p.score for p in sources.values()):
            break
        chosen.append(max(sorted(gain), key=lambda i: gain[i]))
    found = [chosen] if chosen else []
    if options.sets_per_reference > 1 and chosen:
        strong = sorted(sources, key=lambda i: (-sources[i].score, i))[:12]  # combinations grow fast
        others = [list(c) for c in combinations(strong, len(chosen)) if set(c) != set(chosen)]
        others.sort(key=lambda c: (-_set_score([sources[i].score for i in c]), c))
        found += others[: options.sets_per_reference - 1]
    return found


def _novelty(sight: Sight, chosen: Sequence[Sight]) -> float:
    if not chosen:
        return 1.0
    nearest = min(float(angle_between(sight.direction, c.direction)) for c in chosen)
    return 1.0 - math.exp(-((nearest / _SAME_PLACE) ** 2))


def _set_score(scores: Sequence[float]) -> float:
    return 1.0 - math.prod(1.0 - s for s in scores)


def _record(reference: Sight, chosen: Sequence[str], sources: Mapping[str, Pair]) -> dict[str, Any]:
    terms = {i: {k: round(v, 4) for k, v in (sources[i].terms | {"score": sources[i].score}).items()} for i in chosen}
    why = [f"sees {100 * reference.share:.0f} % of the tile"] + [f"{i}: {sources[i].why()}" for i in chosen]
    score = reference.share * _set_score([sources[i].score for i in chosen])
    record = {"reference": reference.view.id, "sources": list(chosen), "score": round(score, 6)}
    return record | {"why": "; ".join(why), "terms": terms}


def _pair(pairs: Mapping[tuple[str, str], Pair], a: str, b: str) -> Pair:
    return pairs[min(a, b), max(a, b)]


def _without_distant_dates(pairs: dict[tuple[str, str], Pair], options: SelectOptions) -> dict[tuple[str, str], Pair]:
    """Bar pairs more than max_days apart where both views have a usable partner that is known to be closer in time."""
    close = {i for key, p in pairs.items() if not p.barred and p.days is not None and p.days <= options.max_days for i in key}
    for (a, b), p in pairs.items():
        if not p.barred and p.days is not None and p.days > options.max_days and a in close and b in close:
            barred = f"{p.days:.0f} days apart, and both have partners within {options.max_days:g}"
            pairs[a, b] = Pair(p.score, p.terms, p.angle, p.days, barred)
    return pairs


def days_between(a: View, b: View) -> float | None:
    """Days between two acquisitions; None where a date is unknown."""
    times = [_time(v.date) for v in (a, b)]
    return None if times[0] is None or times[1] is None else abs((times[0] - times[1]).total_seconds()) / 86400.0


def _time(date: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(date) if date else None
    except ValueError:
        return None
    return time.replace(tzinfo=time.tzinfo or UTC) if time else None


def _ties_term(key: tuple[str, str], ties: Mapping[tuple[str, str], float] | None) -> float:
    """Common tie points of a pair, relative to the geometric mean of what its views have in common with anyone."""
    if not ties:
        return 1.0
    best = [max((share for pair, share in ties.items() if i in pair), default=0.0) for i in key]
    if 0.0 in best:  # a view without any tie point tells nothing of its pairs
        return 1.0
    return min(ties.get(key, 0.0) / math.sqrt(best[0] * best[1]), 1.0)


def _sun_term(a: View, b: View) -> float:
    if a.sun is None or b.sun is None:
        return 1.0
    azimuth, elevation = np.radians(np.array([a.sun, b.sun])).T
    suns = np.stack([np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth), np.sin(elevation)], axis=1)
    return math.exp(-((float(angle_between(suns[0], suns[1])) / _SUN_SPREAD) ** 2))


def search_range(
    points: F64, dem: tuple[float, float] | None, camera: tuple[float, float], options: SelectOptions
) -> tuple[tuple[float, float], str]:
    """Ellipsoidal heights (m) to be searched in a tile, and where they come from.

    points: (n, 3) x, y, h (m) of tie points in and around the tile. dem: lowest and highest of a DEM there. camera: for which
    all cameras are valid; nothing outside it is searched. The two others are joined: a DEM knows the terrain, tie points
    what stands on it.
    """
    trusted = trusted_heights(points)
    spans, sources = [], []
    if len(trusted) >= options.min_points:
        low, high = float(trusted.min()), float(trusted.max())
        margin = max(options.height_margin, 0.2 * (high - low))
        spans.append((low - margin / 2, high + margin))
        wild = len(points) - len(trusted)
        sources.append(f"{len(trusted)} tie points" + (f", {wild} more distrusted" if wild else ""))
    if dem is not None:
        spans.append((dem[0] - options.height_margin, dem[1] + 2 * options.height_margin))
        sources.append("DEM")
    if not spans:
        return camera, "validity of the cameras"
    low, high = max(min(s[0] for s in spans), camera[0]), min(max(s[1] for s in spans), camera[1])
    if low >= high:
        return camera, f"validity of the cameras: {' and '.join(sources)} contradict it"
    return (low, high), " and ".join(sources)


def trusted_heights(points: F64) -> F64:
    """Heights of those points (n, 3) x, y, h (m) that their surroundings bear out: two of the nearest dozen are as high.

    Wrong tie points that survived the adjustment lie anywhere in the whole height range, each alone. What stands on the
    ground does not: a tower has more than one tie point. Farther neighbours may differ by more, as slopes do.
    """
    from scipy.spatial import cKDTree  # here alone: the stages that import this module start sooner

    points = points[np.isfinite(points).all(axis=1)]
    if len(points) <= _WITNESSES:
        return np.empty(0)
    distance, index = cKDTree(points[:, :2]).query(points[:, :2], k=min(_NEIGHBOURS + 1, len(points)))
    apart = np.abs(points[index[:, 1:], 2] - points[:, 2:])
    return points[(apart <= _SAME_HEIGHT + _SLOPE * distance[:, 1:]).sum(axis=1) >= _WITNESSES, 2]
