"""What is remembered by its bytes: bounded, and only what was seen twice.

Most of what a connection sends repeats (its header lines, often whole sections), and some of it never does (a request's
id). What is seen for the first time leaves no more than its hash, so that what never comes again displaces nothing.
"""

from __future__ import annotations

__all__ = ["SeenOnce"]


class SeenOnce:
    """The hashes of what was seen once; all are forgotten when there are too many."""

    __slots__ = ("_hashes", "_limit")

    def __init__(self, limit: int = 4096) -> None:
        self._hashes: set[int] = set()
        self._limit = limit

    def again(self, data: bytes) -> bool:
        """Whether ``data`` was seen before, and is worth being remembered. A collision does no harm."""
        hashed = hash(data)
        if hashed in self._hashes:
            return True
        if len(self._hashes) >= self._limit:
            self._hashes.clear()
        self._hashes.add(hashed)
        return False
