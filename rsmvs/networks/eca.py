"""Epipolar cross attention: a source's embedding folded into the reference's along epipolar lines, equations (1)-(8).

The fundamental matrix comes from virtual ground points, reference pixels at random heights taken to the source through
the warp field: the same points as through two cameras, which a network does not know. Image coordinates are those of
`normalised_field`: -1 to 1 from edge to edge of a window.
"""

from __future__ import annotations

import math

import torch
from torch import nn

_QUERIES = 1024  # attended at once: bounds the memory of one affinity matrix


def virtual_points(
    field_bkchw: torch.Tensor, z_range_b2: torch.Tensor, n: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(reference, source) points, (b, n, 2) float64 each: X_ref and X_src of equations (2) and (3)."""
    b, k, _, h, w = field_bkchw.shape
    dice = torch.rand(3, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(field_bkchw.device)
    col, row = (dice[0] * w).long().clamp(max=w - 1), (dice[1] * h).long().clamp(max=h - 1)
    low, high = z_range_b2.double().unsqueeze(-1).unbind(1)
    z = (low + (high - low) * dice[2]).unsqueeze(1)
    coefs = field_bkchw[..., row, col].double()
    source = coefs[:, k - 1]
    for i in range(k - 2, -1, -1):
        source = source * z + coefs[:, i]
    reference = torch.stack([(col.double() + 0.5) * 2 / w - 1, (row.double() + 0.5) * 2 / h - 1], -1).expand(b, -1, -1)
    return reference, source.transpose(1, 2)


def fundamental_matrix(x_ref_bn2: torch.Tensor, x_src_bn2: torch.Tensor) -> torch.Tensor:
    """(b, 3, 3) F with x_ref^T F x_src = 0, of rank 2 and norm 1, that minimises the algebraic error.

    Points are centred and scaled first (Hartley, PAMI 1997).
    """
    (p, t_ref), (q, t_src) = _conditioned(x_ref_bn2), _conditioned(x_src_bn2)
    products = (p.unsqueeze(-1) * q.unsqueeze(-2)).flatten(-2)
    solution = torch.linalg.svd(products, full_matrices=False).Vh[..., -1, :].unflatten(-1, (3, 3))
    u, s, vh = torch.linalg.svd(solution)
    s = s * s.new_tensor([1.0, 1.0, 0.0])
    matrix = t_ref.mT @ (u @ torch.diag_embed(s) @ vh) @ t_src
    return matrix / torch.linalg.norm(matrix, dim=(-2, -1), keepdim=True)


def _conditioned(points_bn2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Homogeneous points with mean 0 and mean distance sqrt(2), and the transform that took them there."""
    mean = points_bn2.mean(-2, keepdim=True)
    scale = math.sqrt(2) / (points_bn2 - mean).norm(dim=-1).mean(-1).clamp(min=1e-12)
    transform = torch.diag_embed(torch.stack([scale, scale, torch.ones_like(scale)], -1))
    transform[..., :2, 2] = -scale.unsqueeze(-1) * mean.squeeze(-2)
    return _homogeneous(points_bn2) @ transform.mT, transform


def _homogeneous(points: torch.Tensor) -> torch.Tensor:
    return torch.cat([points, torch.ones_like(points[..., :1])], -1)


def epipolar_distance(
    matrix_b33: torch.Tensor, reference_hw: tuple[int, int], source_hw: tuple[int, int]
) -> torch.Tensor:
    """(b, hr * wr, hs * ws) distance, in tokens of the reference, of its tokens to the epipolar lines of source tokens.

    E_ref = F X_src, equation (4), and Dis(X_ref, E_ref) of equation (5).
    """
    h, w = reference_hw
    lines = _homogeneous(_token_centres(source_hw, matrix_b33)) @ matrix_b33.mT  # (b, n, 3), normalised coordinates
    a, b = lines[..., 0] * 2 / w, lines[..., 1] * 2 / h
    length = torch.hypot(a, b).clamp(min=1e-12).unsqueeze(1)
    centres = _homogeneous(_token_centres(reference_hw, matrix_b33)).expand(len(lines), -1, -1)
    return (centres @ lines.mT).abs() / length


def _token_centres(hw: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """(h * w, 2) normalised coordinates, row by row."""
    h, w = hw
    rows, cols = ((torch.arange(n, dtype=torch.float64) + 0.5) * 2 / n - 1 for n in (h, w))
    row, col = torch.meshgrid(rows, cols, indexing="ij")
    return torch.stack([col, row], -1).flatten(0, 1).to(like)


class ECA(nn.Module):
    """One source folded into the reference's embedding."""

    def __init__(self, channels: int, scale: float = 1.0) -> None:
        """scale: tokens that count as one unit of distance; 1: as published."""
        super().__init__()
        self.scale = scale
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))

    def forward(
        self, reference_bchw: torch.Tensor, source_bchw: torch.Tensor, ref_pe_1chw: torch.Tensor, src_pe_1chw: torch.Tensor,
        distance_bqk: torch.Tensor,
    ) -> torch.Tensor:
        """(b, c, h, w): attention, residual, norm and MLP, in the order of the text after equation (7)."""
        query, key, value = (
            x.flatten(2).mT for x in (reference_bchw + ref_pe_1chw, source_bchw + src_pe_1chw, source_bchw)
        )
        fusion = torch.cat(
            [attend(q, key, value, d / self.scale) for q, d in _some(query, distance_bqk)], dim=1
        )
        x = self.norm(reference_bchw.flatten(2).mT + fusion)
        x = x + self.mlp(x)
        return x.mT.unflatten(2, reference_bchw.shape[2:])


def _some(query: torch.Tensor, distance: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return list(zip(query.split(_QUERIES, 1), distance.split(_QUERIES, 1), strict=True))


def attend(
    query_bqc: torch.Tensor, key_bkc: torch.Tensor, value_bkc: torch.Tensor, distance_bqk: torch.Tensor
) -> torch.Tensor:
    """Att' V with Att' = softmax(Q K^T / sqrt(C)) * (1 - sigmoid(distance)), equations (1), (5), (6), (7)."""
    affinity = torch.softmax(query_bqc @ key_bkc.mT / math.sqrt(query_bqc.shape[-1]), -1)
    return (affinity * torch.sigmoid(-distance_bqk).to(affinity.dtype)) @ value_bkc
