"""How the C library shares out memory among threads."""

import ctypes
import os
from contextlib import suppress

M_ARENA_MAX = -8  # malloc.h


def share_arenas() -> None:
    """Have all threads share one arena of the C library per processor; call it before they start.

    By default each thread gets its own, up to eight per processor, and each keeps what its fullest moment needed: a
    server after minutes of mixed load is a fifth larger (docs/performance.md). Without glibc nothing is changed.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, max(2, os.cpu_count() or 2))
