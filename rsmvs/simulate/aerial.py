"""Aerial blocks: a frame camera over the same scenes, with overlap along and across the strips."""

from __future__ import annotations

import random

import numpy as np

from rsmvs.geometry.pinhole import Pinhole
from rsmvs.simulate.options import ViewOptions
from rsmvs.simulate.render import Rendering, light_of, render_camera
from rsmvs.simulate.scene import Scene
from rsmvs.types import F64


def aerial_views(
    scene: Scene, count: int, size: tuple[int, int], gsd: float, bands: str, seed: int
) -> tuple[Rendering, ...]:
    """Crops of `count` neighbouring photographs of one flight that look at the middle of the scene, reference first."""
    dice = random.Random(f"flight {seed}")
    flying_height = 550.0 * max(gsd / 0.1, 1.0) ** 0.5  # m above ground; WHU-MVS flew at 550 m for 0.1 m
    focal = flying_height / gsd
    base = flying_height * dice.uniform(0.12, 0.3)  # m between exposures
    course = dice.uniform(0, 2 * np.pi)
    options = ViewOptions(gsd=gsd, sun_azimuth=dice.uniform(90, 270), sun_elevation=dice.uniform(30, 70), bits=8, bands=bands,
                          psf=dice.uniform(0.3, 0.6), noise=dice.uniform(0.5, 2.0), season=dice.random() * 0.5)  # fmt: skip
    light = light_of(scene, options.sun_azimuth, options.sun_elevation)
    spots = [(0.0, 0.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.4), (0.0, -1.4)]  # along the strip, then the strips beside it
    spots += [(a, b) for a in (2.0, -2.0) for b in (0.0, 1.4, -1.4)]
    views = []
    for k, (along, across) in enumerate(spots[:count]):
        c, s = np.cos(course), np.sin(course)
        offset = base * np.array([along * c - across * s, along * s + across * c])
        camera = frame_camera(scene, offset, flying_height, focal, size, course, dice)
        low, high = scene.heights
        camera = Pinhole(camera.rotation, camera.centre, focal, camera.principal, (low - 5.0, high + 5.0), scene.crs)
        views.append(render_camera(scene, camera, camera, 0.0, options, seed * 100 + k, size, light, quick=True))
    return tuple(views)


def frame_camera(
    scene: Scene, offset: F64, flying_height: float, focal: float, size: tuple[int, int], course: float, dice: random.Random
) -> Pinhole:
    """The crop, about the scene's middle, of a nearly vertical photograph taken at `offset` (m) from above it."""
    a = scene.area
    ground = np.array([(a[0] + a[2]) / 2, (a[1] + a[3]) / 2, scene.centre[2]])
    centre = ground + np.array([*offset, flying_height])
    tilt = [dice.gauss(0, 0.01), dice.gauss(0, 0.01), course + dice.gauss(0, 0.01)]
    cx, cy, cz = np.cos(tilt)
    sx, sy, sz = np.sin(tilt)
    turn = np.array([[cz, sz, 0], [sz, -cz, 0], [0, 0, -1.0]])  # x along the course, y to its right, z down
    lean = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rotation = lean @ turn
    look = rotation @ (ground - centre)
    at = focal * look[:2] / look[2]  # where the scene's middle falls, from the principal point
    principal = ((size[0] - 1) / 2 - float(at[0]), (size[1] - 1) / 2 - float(at[1]))
    return Pinhole(rotation, centre, focal, principal, (scene.heights[0] - 5.0, scene.heights[1] + 5.0), scene.crs)
