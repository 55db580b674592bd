"""Memory for tensors that come and go: kept by the process, and in huge pages (glibc, Linux)."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from typing import Any

# mallopt(3). Above the first, glibc maps fresh pages for every tensor and gives them back at once;
# ResNet-20's maps are 8 MB at batch 128, so that each operation begins with 2,000 page faults.
# What is free at the end of the heap above the second is given back, but for the third.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_TOP_PAD = -3, -1, -2
_MOST = 32 << 20  # the highest of the first that glibc takes
_KEPT = 2**31 - 1  # the highest number that mallopt takes
_SHARE = 8  # of a small machine's memory
_BLOCK = 16 << 20  # below _MOST, so that it comes from the heap
_MADV_HUGEPAGE, _HUGE = 14, 2 << 20  # madvise(2): pages of 2 MiB instead of 4 KiB


@cache
def keep_freed_memory() -> bool:
    """Let glibc use freed memory again instead of returning it, and have it in huge pages.

    Up to an eighth of the machine's memory, and 2 GiB. For the whole process, and once; where there
    is no glibc, nothing happens. Memory that was never used is not taken: only its addresses are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    kept = min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _SHARE, _KEPT)
    wanted = {_M_MMAP_THRESHOLD: _MOST, _M_TRIM_THRESHOLD: kept, _M_TOP_PAD: kept}
    if not all(mallopt(*each) for each in wanted.items()):
        return False
    _in_huge_pages(libc, kept - 2 * _BLOCK)  # less than what would be given back at once
    return True


def _in_huge_pages(libc: Any, size: int) -> None:
    """Grow the heap by so much, untouched, and ask for huge pages where it will be touched.

    Linux gives them only where it is asked to ("madvise", as most distributions set it); a stream
    over maps of megabytes then misses the translation buffers 512 times less often.
    """
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    blocks = [libc.malloc(_BLOCK) for _ in range(size // _BLOCK)]
    for block in filter(None, blocks):
        begin = block // _HUGE * _HUGE + _HUGE
        libc.madvise(begin, block + _BLOCK - begin, _MADV_HUGEPAGE)
    for block in reversed(blocks):
        libc.free(block)
