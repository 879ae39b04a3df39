"""Derivatives of a projection by the ground coordinates, for any camera."""

from __future__ import annotations

from typing import Any

import numpy as np

from rsmvs.geometry.rpc import RPC
from rsmvs.types import F64, Camera

_STEPS = (1e-6, 1e-6, 0.1)  # degrees, degrees, m: about 0.1 m on the ground, far above the rounding of float64


def projection_jacobian(camera: Camera, lon: Any, lat: Any, h: Any) -> F64:
    """d(col, row) / d(lon, lat, h) at n ground points, (n, 2, 3), in px per degree, per degree and per metre.

    Analytic for RPC; central differences for the others.
    """
    if isinstance(camera, RPC):
        return camera.jacobian(lon, lat, h)
    ground = np.stack(np.broadcast_arrays(*(np.asarray(x, np.float64).ravel() for x in (lon, lat, h))))
    jac = np.empty((ground.shape[1], 2, 3))
    for g, step in enumerate(_STEPS):
        delta = np.zeros((3, 1))
        delta[g] = step
        plus, minus = np.stack(camera.project(*(ground + delta))), np.stack(camera.project(*(ground - delta)))
        jac[:, :, g] = ((plus - minus) / (2 * step)).T
    return jac
