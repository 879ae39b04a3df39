"""A picture of the residuals that an adjustment leaves."""

from __future__ import annotations

from typing import Any

import numpy as np

from rsmvs.adjust.records import Network, Sensor

_COLUMNS, _PANELS = 4, 24
_ARROWS = 400
_PANEL_INCHES = 3.2


def residual_figure(network: Network, sensors: list[Sensor]) -> Any:
    """matplotlib Figure: residual vectors of each view on its image, all at one scale; the first 24 views."""
    from matplotlib.figure import Figure

    shown = sorted(sensors, key=lambda s: s.id)[:_PANELS]
    columns = min(_COLUMNS, max(len(shown), 1))
    rows = -(-max(len(shown), 1) // columns)
    figure = Figure(figsize=(_PANEL_INCHES * columns, 1.1 * _PANEL_INCHES * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    length = np.linalg.norm(network.after, axis=1)
    unit = max(float(np.percentile(length, 90)) if len(length) else 0.0, 0.01)
    for axis, sensor in zip(axes, shown, strict=False):
        _panel(axis, network, sensor, unit)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    figure.suptitle(f"Residuals after adjustment; the longest tenth of the arrows exceeds {unit:.2g} px", fontsize=9)
    return figure


def _panel(axis: Any, network: Network, sensor: Sensor, unit: float) -> None:
    v = network.views.index(sensor.id)
    mine = np.flatnonzero(network.tracks.view == v)
    some = mine[np.linspace(0, len(mine) - 1, min(len(mine), _ARROWS)).astype(int)] if len(mine) else mine
    side = max(sensor.width, sensor.height)
    axis.set_xlim(0, sensor.width)
    axis.set_ylim(sensor.height, 0)
    axis.set_aspect("equal")
    axis.tick_params(labelsize=6)
    if len(some):
        x, y = network.tracks.xy[some].T
        u, w = network.after[some].T * (0.04 * side / unit)
        axis.quiver(x, y, u, w, angles="xy", scale_units="xy", scale=1, width=0.004, color="tab:blue")
        before, after = (np.median(np.linalg.norm(r[mine], axis=1)) for r in (network.before, network.after))
        title = f"{sensor.id}: {before:.2f} to {after:.2f} px, {len(mine)} points"
    else:
        title = f"{sensor.id}: no tie points"
    axis.set_title(title, fontsize=7)
