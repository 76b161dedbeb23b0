"""How the process uses the memory that the system's allocator manages."""

from __future__ import annotations

import contextlib
import ctypes
import gc

#: Names of `mallopt`'s parameters in the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MOST_ARENAS = -1, -3, -8
_LARGEST_MMAP_THRESHOLD = 32 << 20
_KEPT = 128 << 20
_OBJECTS = 200_000


def keep_freed_memory() -> None:
    """Keep what is freed for the next batch, instead of giving it back and asking for it again.

    Every batch makes and frees the same arrays of some megabytes. By default the GNU C library maps and
    unmaps each of them, and the system clears every page anew. One arena serves all threads: what one has
    freed another can use. Other libraries are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)
        library.mallopt(_MOST_ARENAS, 1)


def collect_seldom() -> None:
    """Look for garbage in cycles after some hundred thousand new objects, not after some hundred.

    Messages of a topic are made and freed by the ten thousand and hold no cycles; looking for them takes as
    long as reading the messages. What there is by now is never looked at again.
    """
    gc.freeze()
    gc.set_threshold(_OBJECTS, 10, 10)
