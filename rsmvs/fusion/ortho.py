"""The orthoimage: each ground cell with its height looked up in the images that see it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from rsmvs.geometry.warp import WarpField, field_at
from rsmvs.types import F32, F64

BLEND = 8  # cells over which one image gives way to the next; 0, 4 and 8 were compared in docs/products.md


class Bands(NamedTuple):
    """Another image of the acquisition, (b, h, w), and the field from grid cells and height to its pixels."""

    values: F32
    field: WarpField


class Look(NamedTuple):
    """An image window (h, w), its heights (h, w) m, and the field from grid cells and height to its pixels.

    colour: the bands that go into the orthoimage where they are not the image's own.
    """

    image: F32
    height: F32
    field: WarpField
    colour: Bands | None = None

    @property
    def bands(self) -> Bands:
        return self.colour or Bands(self.image[None], self.field)


@njit(cache=True, nogil=True)
def _sees(surface: F32, image: F32, height: F32, coefs: F64, lattice: F64, hidden: float, out: NDArray[np.bool_]) -> None:
    h, w = surface.shape
    hi, wi = image.shape
    for r in range(h):
        for c in range(w):
            z = surface[r, c]
            if np.isnan(z):
                continue
            u, v = field_at(coefs, lattice, c, r, z)
            j, i = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
            if 0 <= j < wi and 0 <= i < hi:
                out[r, c] = not np.isnan(image[i, j]) and not height[i, j] > z + hidden  # an unknown height hides nothing


@njit(cache=True, nogil=True)
def _sample(surface: F32, image: F32, coefs: F64, lattice: F64, out: F32) -> None:
    h, w = surface.shape
    hi, wi = image.shape[1:]
    for r in range(h):
        for c in range(w):
            z = surface[r, c]
            if np.isnan(z):
                continue
            u, v = field_at(coefs, lattice, c, r, z)
            j, i = int(np.floor(u)), int(np.floor(v))
            if not (0 <= j < wi - 1 and 0 <= i < hi - 1):
                continue
            a, b = u - j, v - i
            for k in range(image.shape[0]):
                top = image[k, i, j] + a * (image[k, i, j + 1] - image[k, i, j])
                low = image[k, i + 1, j] + a * (image[k, i + 1, j + 1] - image[k, i + 1, j])
                out[k, r, c] = top + b * (low - top)


def orthoimage(surface: F32, looks: list[Look], hidden: float) -> F32:
    """(b, h, w) grey values or colours of a surface (m, NaN where unknown) from the first of `looks` that sees each cell.

    A cell is hidden where the image's own height there is more than `hidden` m above it. Where what an image sees ends,
    it fades into the next over BLEND cells. Later images are brought to the brightness of the first, band by band; grey
    ones go into all bands. A cell hidden everywhere takes the first that reaches it.
    """
    count = max((len(look.bands.values) for look in looks), default=1)
    out, sharp = np.zeros((count, *surface.shape), np.float32), np.full((count, *surface.shape), np.nan, np.float32)
    total = np.zeros(surface.shape, np.float32)
    for limit in (hidden, np.inf):
        for look in looks:
            left = 1.0 - total if limit == hidden else (total == 0).astype(np.float32)
            if not ((left > 0) & np.isfinite(surface)).any():
                break
            values, seen = _looked_up(surface, look, limit, count)
            values *= _gain(sharp, values)[:, None, None]
            share = left * (np.minimum(distance_transform_edt(seen) / BLEND, 1.0) if limit == hidden else seen)
            out += np.where(share > 0, share * np.nan_to_num(values), 0.0).astype(np.float32)
            total += share.astype(np.float32)
            sharp = np.where(np.isnan(sharp), values, sharp)
    return np.where(total > 0, out / np.maximum(total, np.float32(1e-6)), np.nan).astype(np.float32)


def _looked_up(surface: F32, look: Look, hidden: float, count: int) -> tuple[F32, NDArray[np.bool_]]:
    """(count, h, w) values of a look, NaN where it sees nothing, and where it does."""
    seen = np.zeros(surface.shape, bool)
    _sees(surface, look.image, look.height, look.field.coefs, look.field.lattice, hidden, seen)
    pixels, field = look.bands
    values = np.full((len(pixels), *surface.shape), np.nan, np.float32)
    _sample(surface, pixels, field.coefs, field.lattice, values)
    seen &= np.isfinite(values).all(0)
    return np.where(seen, np.broadcast_to(values, (count, *surface.shape)), np.float32(np.nan)), seen


def _gain(known: F32, values: F32) -> F32:
    """(b,) factors that bring values (b, ...) to the brightness of known ones, by the medians over what both hold."""
    both = np.isfinite(known).all(0) & np.isfinite(values).all(0)
    if not both.any():
        return np.ones(len(values), np.float32)
    medians = ((np.median(k[both]), np.median(v[both])) for k, v in zip(known, values, strict=True))
    return np.array([k / max(v, 1e-6) for k, v in medians], np.float32)


def colours_at(looks: list[Look], col: Any, row: Any, height: Any, hidden: float) -> F32:
    """(b, n) values of points at cells (col, row) and heights (m), each from the first look that sees it; NaN without.

    As in `orthoimage`, without fading: the nearest pixel counts.
    """
    count = max((len(look.bands.values) for look in looks), default=1)
    out = np.full((count, len(height)), np.nan, np.float32)
    for limit in (hidden, np.inf):
        for look in looks:
            if np.isfinite(out).all():
                return out
            values = np.broadcast_to(_points_seen(look, col, row, height, limit), out.shape)
            values = values * _gain(out, values)[:, None]
            out = np.where(np.isnan(out), values, out)
    return out


def _points_seen(look: Look, col: Any, row: Any, height: Any, hidden: float) -> F32:
    front = _nearest(look.height[None], look.field, col, row, height)[0]
    values = _nearest(look.bands.values, look.bands.field, col, row, height)
    seen = ~(front > height + hidden) & np.isfinite(values).all(0)
    return np.where(seen, values, np.float32(np.nan))


def _nearest(image: F32, field: WarpField, col: Any, row: Any, height: Any) -> F32:
    """(b, n) values of the pixels that points fall on; NaN outside."""
    u, v = field(col, row, height)
    j, i = (np.floor(x + 0.5).astype(np.int64) for x in (u, v))
    inside = (i >= 0) & (i < image.shape[1]) & (j >= 0) & (j < image.shape[2])
    out = np.full((len(image), len(height)), np.nan, np.float32)
    out[:, inside] = image[:, i[inside], j[inside]]
    return out
