"""The plan as a picture: footprints and tiles on the ground, and how well each pair of views goes together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsmvs.geometry.ground import map_projection
from rsmvs.geometry.viewing import footprint
from rsmvs.io.manifests import atomic
from rsmvs.types import View

_NUMBERED = 100  # tiles up to which each carries its number of sets
_LABELLED = 14  # views up to which the matrix carries numbers


def drawn_part(plan: dict[str, Any]) -> dict[str, Any]:
    """What the picture needs of a tile's plan."""
    sets = [{k: s[k] for k in ("reference", "sources")} for s in plan["sets"]]
    pairs = [{k: p[k] for k in ("views", "score", "angle")} for p in plan["pairs"]]
    return {"bounds": plan["bounds"], "ground_height": plan["ground_height"], "sets": sets, "pairs": pairs}


def draw_plan(plans: Sequence[dict[str, Any]], views: Sequence[View], crs: str, out: str | Path) -> None:
    """plan.png. The same plan gives the same bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7), dpi=90, layout="constrained")
    ground, matrix = figure.subplots(1, 2)
    _draw_ground(ground, plans, views, crs)
    _draw_pairs(matrix, plans, [v.id for v in views])
    with atomic(out) as part:
        figure.savefig(part, format="png", metadata={"Software": None})


def _draw_ground(axes: Any, plans: Sequence[dict[str, Any]], views: Sequence[View], crs: str) -> None:
    from matplotlib import colormaps
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    most = max((len(p["sets"]) for p in plans), default=1) or 1
    few = len(plans) <= _NUMBERED
    rectangles, colours = [], []
    for plan in plans:
        xmin, ymin, xmax, ymax = plan["bounds"]
        rectangles.append(Rectangle((xmin, ymin), xmax - xmin, ymax - ymin))
        colours.append(colormaps["Greens"](0.1 + 0.3 * len(plan["sets"]) / most) if plan["sets"] else to_rgba("#f4c7c3"))
        if few:
            text = str(len(plan["sets"])) if plan["sets"] else "empty"
            axes.text((xmin + xmax) / 2, (ymin + ymax) / 2, text, ha="center", va="center", fontsize=7)
    axes.add_collection(PatchCollection(rectangles, facecolors=colours, edgecolors="white", linewidths=0.8 if few else 0.0))
    h = float(np.median([p["ground_height"] for p in plans]))
    for i, view in enumerate(views):
        ring = np.array(footprint(view.camera, view.width, view.height, h, per_edge=8))
        x, y = map_projection(crs)(ring[:, 0], ring[:, 1], np.full(len(ring), h))
        colour = colormaps["tab20"](i % 20)
        axes.plot(np.r_[x, x[0]], np.r_[y, y[0]], color=colour, linewidth=1.4, label=view.id)
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.tick_params(labelsize=7)
    axes.locator_params(nbins=5)
    axes.set_title(f"Tiles (number of view sets) and footprints at {h:.0f} m, {crs}", fontsize=9)
    if len(views) <= 24:
        axes.legend(fontsize=7, loc="best", framealpha=0.9)


def _draw_pairs(axes: Any, plans: Sequence[dict[str, Any]], ids: Sequence[str]) -> None:
    place = {name: i for i, name in enumerate(ids)}
    score, times, angle = (np.zeros((len(ids), len(ids))) for _ in range(3))
    chosen: set[tuple[int, int]] = set()
    for plan in plans:
        for pair in plan["pairs"]:
            a, b = sorted(place[i] for i in pair["views"])
            score[a, b] += pair["score"]
            angle[a, b] += pair["angle"]
            times[a, b] += 1
        chosen |= {(place[s["reference"]], place[i]) for s in plan["sets"] for i in s["sources"]}
    with np.errstate(invalid="ignore"):
        score, angle = score / times, angle / times
    score, angle = (np.where(np.isfinite(m), m, m.T) for m in (score, angle))
    image = axes.imshow(score, vmin=0, vmax=1, cmap="viridis")
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="score of the pair, mean over tiles")
    for reference, source in sorted(chosen):
        axes.plot(source, reference, marker="s", markersize=max(3, 260 / len(ids) ** 1.3), fillstyle="none", color="white")
    if len(ids) <= _LABELLED:
        for a, b in zip(*np.nonzero(np.isfinite(score)), strict=True):
            colour = "black" if score[a, b] > 0.6 else "white"
            axes.text(b, a, f"{score[a, b]:.2f}\n{angle[a, b]:.0f}°", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(ids)), ids, rotation=90, fontsize=7)
    axes.set_yticks(range(len(ids)), ids, fontsize=7)
    axes.set_xlabel("source")
    axes.set_ylabel("reference")
    axes.set_title("Pairs: score, convergence angle; framed where chosen", fontsize=9)
