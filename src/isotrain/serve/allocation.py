"""Memory that is used again instead of given back and asked for anew, photo after photo.

Outside of the first thread glibc maps every large block by itself: a photo looked at took 200 maps and as many page
faults as it has pages, a sixth of its time. One arena, and blocks that are kept, spare them.
"""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Of mallopt(3)."""
LARGEST, KEPT = 256 << 20, 512 << 20
"""Bytes of a block that is still taken from the arena; free bytes at its end that are not given back."""


def keep_memory() -> bool:
    """Tell the allocator, before the threads begin; False where it is not glibc's, and does as it likes.

    >>> keep_memory() in (True, False)
    True
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(
        mallopt(name, value) for name, value in ((ARENA_MAX, 1), (MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, KEPT))
    )
