"""Where networks run, and in what arithmetic."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch


def best_device() -> torch.device:
    """A GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; elsewhere torch only imitates it, slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 2)[1].split("\n", 1)[0].split()
    except (OSError, IndexError):  # not Linux, or another kind of processor
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
