"""What is remembered by its bytes: bounded, and only what was seen twice.

Most of what a connection sends repeats (its header lines, often whole sections), and some of it never does (a request's
id). What is seen for the first time leaves no more than its hash, so that what never comes again displaces nothing.
"""

from __future__ import annotations

__all__ = ["SeenOnce"]


class SeenOnce:
    """The hashes of what was seen once; all are forgotten when there are too many."""

    __slots__ = ("_limit", "hashes")

    def __init__(self, limit: int = 4096) -> None:
        self.hashes: set[int] = set()
        """To be read."""
        self._limit = limit

    def again(self, data: bytes) -> bool:
        """Whether ``data`` was seen before, and is worth being remembered. A collision does no harm."""
        hashed = hash(data)
        if hashed in self.hashes:
            return True
        self.add(hashed)
        return False

    def add(self, hashed: int) -> None:
        if len(self.hashes) >= self._limit:
            self.hashes.clear()
        self.hashes.add(hashed)
