"""How the C library's allocator treats the buffers of large reads.

A read of 256 KiB is allocated and freed again within a loop turn. glibc gives such memory back to the system at once,
and the next read has to have it mapped and cleared anew, page by page: for bulk traffic that is a third of all work.
"""

from __future__ import annotations

__all__ = ["KEPT_FREE", "keep_freed_memory"]

KEPT_FREE = 8 * 1024 * 1024
"""Bytes that may be free at the end of the heap before they are given back."""
_MAPPED_FROM = 4 * 1024 * 1024
"""Allocations of this size are mapped, and unmapped when they are freed; those below come from the heap."""
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Let glibc keep up to `KEPT_FREE` bytes for the next reads. For a process of our own, once, at its start. Returns
    whether it could be said: other C libraries have other ways."""
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_FREE) and mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM))
