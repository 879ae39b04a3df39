"""The residuals that an adjustment found and those it leaves: as numbers, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rsmvs.adjust.records import Network, Sensor

KINDS = ("before", "after")
_ARROWS = 400  # of each view
_VIEWS, _COLUMNS = 24, 4  # of the picture; two panels a view
_PANEL_INCHES = 3.2


def residual_sample(network: Network, sensors: list[Sensor]) -> dict[str, Any]:
    """Residual vectors of at most 400 tie points of each view, spread over all of them, in JSON types.

    {view id: {"width", "height", "points": (n,), "median": {kind: px}, "xy": [[col, row], ...], kind: [[d_col, d_row], ...]}}
    for the kinds `before` (given cameras) and `after` (corrected ones), px; `points`: how many tie points there are.
    """
    out: dict[str, Any] = {}
    for sensor in sorted(sensors, key=lambda s: s.id):
        mine = np.flatnonzero(network.tracks.view == network.views.index(sensor.id))
        some = mine[np.linspace(0, len(mine) - 1, min(len(mine), _ARROWS)).astype(int)] if len(mine) else mine
        vectors = {"before": network.before, "after": network.after}
        out[sensor.id] = {
            "width": sensor.width,
            "height": sensor.height,
            "points": len(mine),
            "median": {k: round(float(np.median(np.linalg.norm(v[mine], axis=1))), 4) for k, v in vectors.items() if len(mine)},
            "xy": np.round(network.tracks.xy[some]).astype(int).tolist(),
            **{k: np.round(v[some], 3).tolist() for k, v in vectors.items()},
        }
    return out


def residual_figure(sample: Mapping[str, Any]) -> Any:
    """matplotlib Figure of a `residual_sample`: before and after beside each other, a scale for each; the first 24 views."""
    from matplotlib.figure import Figure

    shown = list(sample.items())[:_VIEWS]
    rows = max(-(-2 * len(shown) // _COLUMNS), 1)
    figure = Figure(figsize=(_PANEL_INCHES * _COLUMNS, 1.1 * _PANEL_INCHES * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    units = {kind: _unit(sample, kind) for kind in KINDS}
    for i, (name, view) in enumerate(shown):
        for axis, kind in zip(axes[2 * i : 2 * i + 2], KINDS, strict=True):
            _panel(axis, name, view, kind, units[kind])
    for axis in axes[2 * len(shown) :]:
        axis.set_axis_off()
    told = ", ".join(f"{units[k]:.2g} px {k}" for k in KINDS)
    figure.suptitle(f"Residuals; the longest tenth of the arrows exceeds {told} the adjustment", fontsize=9)
    return figure


def _unit(sample: Mapping[str, Any], kind: str) -> float:
    """The length (px) that nine tenths of all arrows do not reach."""
    vectors = [v for view in sample.values() for v in view[kind]]
    return max(float(np.percentile(np.linalg.norm(vectors, axis=1), 90)) if vectors else 0.0, 0.01)


def _panel(axis: Any, name: str, view: Mapping[str, Any], kind: str, unit: float) -> None:
    axis.set_xlim(0, view["width"])
    axis.set_ylim(view["height"], 0)
    axis.set_aspect("equal")
    axis.tick_params(labelsize=6)
    title = f"{name} {kind}: no tie points"
    if view["points"]:
        x, y = np.array(view["xy"]).T
        u, w = np.array(view[kind]).T * (0.04 * max(view["width"], view["height"]) / unit)
        colour = "tab:orange" if kind == "before" else "tab:blue"
        axis.quiver(x, y, u, w, angles="xy", scale_units="xy", scale=1, width=0.004, color=colour)
        title = f"{name} {kind}: {view['median'][kind]:.2f} px, {view['points']} points"
    axis.set_title(title, fontsize=7)
