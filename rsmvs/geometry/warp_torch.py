"""The warp field on torch tensors: source features at height hypotheses of reference pixels.

A field is unrolled once to per-pixel polynomials in z = h - z0 (metres above the middle of the height range, so that
float32 suffices); a plane then costs a few multiply-adds and one bilinear lookup.

The one pixel convention of the networks: a cell of a feature map of stride s covers s x s whole pixels, its centre is
the pixel coordinate s * (j + 1/2) - 1/2 (`align_corners=False` everywhere). The normalised coordinate of a source
pixel, (u + 1/2) * 2 / width - 1, is then the same at every stride, and a field at stride s is the mean over the cell.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from rsmvs.geometry.warp import WarpField
from rsmvs.types import F64


def _hat_weights(n_pixels: int, first: float, per_px: float, n_nodes: int) -> F64:
    """(n_pixels, n_nodes) weights that interpolate linearly between lattice nodes, and extrapolate past the ends."""
    x = (np.arange(n_pixels) - first) * per_px
    j = np.clip(np.trunc(x).astype(int), 0, n_nodes - 2)
    weights = np.zeros((n_pixels, n_nodes))
    weights[np.arange(n_pixels), j] = 1 - (x - j)
    weights[np.arange(n_pixels), j + 1] = x - j
    return weights


def _shifted_polynomial(lattice: F64, k: int, z0: float) -> F64:
    """(k, k) matrix from coefficients in t = (h - lattice[3]) * lattice[4] to coefficients in z = h - z0."""
    offset, scale = (z0 - lattice[3]) * lattice[4], lattice[4]
    powers = np.zeros((k, k))
    powers[0, 0] = 1.0
    for i in range(1, k):  # (offset + scale z)^i by repeated multiplication
        powers[i, :] = offset * powers[i - 1]
        powers[i, 1:] += scale * powers[i - 1, :-1]
    return powers.T


def dense_field(field: WarpField, shape: tuple[int, int], z0: float) -> torch.Tensor:
    """(k, 2, h, w) float32: coefficients, lowest order first, of the source pixel (u, v) as polynomials in h - z0 (m).

    field: between windows, as in a ViewStack. shape: (h, w) of the reference window. Unrolled in float64.
    """
    ny, nx, k, _ = field.coefs.shape
    c0, r0, per_px = field.lattice[:3]
    coefs = np.einsum("pk,yxkc->pcyx", _shifted_polynomial(field.lattice, k, z0), field.coefs)
    rows, cols = _hat_weights(shape[0], r0, per_px, ny), _hat_weights(shape[1], c0, per_px, nx)
    dense = np.matmul(np.matmul(rows, coefs), cols.T)
    dense[0] += field.lattice[5:7, None, None]
    return torch.from_numpy(dense.astype(np.float32))


def at_stride(dense_bkchw: torch.Tensor, stride: int) -> torch.Tensor:
    """The field at the centres of stride x stride cells."""
    if stride == 1:
        return dense_bkchw
    return F.avg_pool2d(dense_bkchw.flatten(1, 2), stride).unflatten(1, (dense_bkchw.shape[1], 2))


def source_pixels(dense_bkchw: torch.Tensor, z_b1hw: torch.Tensor) -> torch.Tensor:
    """(b, 2, h, w) full-resolution source pixels (u, v) at z metres above z0; z may be (b, 1, 1, 1): a plane."""
    k = dense_bkchw.shape[1]
    uv = dense_bkchw[:, k - 1]
    for i in range(k - 2, -1, -1):
        uv = uv * z_b1hw + dense_bkchw[:, i]
    return uv


def normalised_field(dense_kchw: torch.Tensor, source_shape: tuple[int, int]) -> torch.Tensor:
    """The field in normalised source coordinates, -1 to 1 from edge to edge of the source image.

    source_shape: (h, w) of the source image in pixels.
    """
    scale = dense_kchw.new_tensor([2.0 / source_shape[1], 2.0 / source_shape[0]]).view(2, 1, 1)
    scaled = dense_kchw * scale
    scaled[0] += 0.5 * scale - 1.0
    return scaled


def lookup_field(field_bkchw: torch.Tensor, stride: int) -> torch.Tensor:
    """(b, k, h, w, 2): a normalised field at a stride, in the order of coordinates that the lookup reads."""
    return at_stride(field_bkchw, stride).permute(0, 1, 3, 4, 2).contiguous()


def sample_planes(maps_bchw: torch.Tensor, field_bkhw2: torch.Tensor, z_bdhw: torch.Tensor) -> torch.Tensor:
    """(b, c, d, h, w): bilinear values of source maps, of any stride, at d heights per pixel; 0 outside the source.

    field_bkhw2: of `lookup_field`. z_bdhw: metres above z0, (b, d, h, w) or (b, d, 1, 1) for planes of one height.
    """
    k = field_bkhw2.shape[1]
    z, grid = z_bdhw.unsqueeze(-1), field_bkhw2[:, k - 1 : k]
    for i in range(k - 2, -1, -1):
        grid = grid * z + field_bkhw2[:, i : i + 1]
    values = F.grid_sample(maps_bchw.float(), grid.flatten(1, 2), mode="bilinear", padding_mode="zeros", align_corners=False)
    b, c, (d, h, w) = values.shape[0], values.shape[1], grid.shape[1:4]
    return values.reshape(b, c, d, h, w)
