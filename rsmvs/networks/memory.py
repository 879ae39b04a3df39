"""Memory that a network asks for again and again."""

from __future__ import annotations

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # parameters of mallopt, <malloc.h>
_NEVER = 2**31 - 1


@cache
def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees for its next use; False where the C library does not know how.

    The GNU C library hands large blocks back to the system at once, and a network frees and asks for them layer by layer: fresh
    pages then cost up to as much time as the arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
