"""Low-rank adaptation of a fused attention projection (Hu et al., ICLR 2022)."""

from __future__ import annotations

import torch
from torch import nn


class LoraQKV(nn.Module):
    """y = W x + [B_q A_q x, 0, B_v A_v x]: queries and values adapted, as in SAM-LoRA; W stays as it is.

    B starts at zero, so that adding it changes nothing.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        width = base.in_features
        self.base = base.requires_grad_(False)
        self.down = nn.ModuleList(nn.Linear(width, rank, bias=False) for _ in "qv")
        self.up = nn.ModuleList(nn.Linear(rank, width, bias=False) for _ in "qv")
        for up in self.up:
            nn.init.zeros_(up.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, v = (up(down(x)) for down, up in zip(self.down, self.up, strict=True))
        return self.base(x) + torch.cat([q, torch.zeros_like(q), v], -1)


def adapt(encoder: nn.Module, rank: int) -> None:
    """Freeze a SAM image encoder and give the attention of each block its low-rank part."""
    encoder.requires_grad_(False)
    for block in encoder.blocks:
        block.attn.qkv = LoraQKV(block.attn.qkv, rank)


def trainable(network: nn.Module) -> tuple[int, int]:
    """(parameters that are trained, all parameters)."""
    sizes = [(p.numel() if p.requires_grad else 0, p.numel()) for p in network.parameters()]
    return sum(a for a, _ in sizes), sum(b for _, b in sizes)
