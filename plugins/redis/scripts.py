"""Lua scripts that have passed, by their SHA1: a server that was restarted, or that never got one, can be given it."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha1

__all__ = ["Scripts"]

MAX_SCRIPTS = 1000
MAX_BYTES = 8 * 1024 * 1024


class Scripts:
    """Those used last, within bounds."""

    def __init__(self) -> None:
        self._texts: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0

    def learn(self, text: bytes) -> None:
        """A script has passed."""
        key = sha1(text, usedforsecurity=False).hexdigest().encode()
        if key in self._texts:
            self._texts.move_to_end(key)
            return
        self._texts[key] = text
        self._size += len(text)
        while len(self._texts) > MAX_SCRIPTS or self._size > MAX_BYTES:
            _, oldest = self._texts.popitem(last=False)
            self._size -= len(oldest)

    def find(self, key: bytes) -> bytes | None:
        """The script with this SHA1, in hexadecimal of either case."""
        return self._texts.get(key.lower())

    def forget(self) -> None:
        """Scripts were flushed: they are to be missing."""
        self._texts.clear()
        self._size = 0
