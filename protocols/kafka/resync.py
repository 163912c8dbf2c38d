"""Finding frames again where the beginning was missed: in the middle of a connection, behind bytes that were lost.

A request says much about itself: a size, an API and a version that exist, a client id of printable characters. A
response says nothing but a size and a correlation id, so it is found by a request that waits for it. What is found is
believed when the message can be read, or when all of its beginning fits.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable

from l4proxy.protocols.kafka.apis import APIS
from l4proxy.protocols.kafka.frames import SIZE

__all__ = ["LOOK_BACK", "find_request", "find_response"]

LOOK_BACK = 300
"""Bytes of an unfinished header that are kept until more comes: a client id has at most 249 (and is shorter)."""
_HEADER = struct.Struct(">ihhih")
_RESPONSE = struct.Struct(">ii")
_MOST_WAITING = 64
"""Requests whose responses are looked for at a time."""
_REQUEST = re.compile(
    rb"(?=[\x00-\x06].{3}\x00[\x00-\x5c]\x00[\x00-\x14].{4}(?:\xff\xff|\x00[\x00-\xf9][\x20-\x7e]*))", re.DOTALL
)
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")

Readable = Callable[[bytes, int, int], bool]
"""``readable(data, pos, stop)``: can ``data[pos:stop]`` be read as a whole frame without its size?"""


def find_request(data: bytes, limit: int, readable: Readable) -> int | None:
    """Where in ``data`` a request begins; None where none is found."""
    for found in _REQUEST.finditer(data):
        pos = found.start()
        size, key, version, _, id_size = _HEADER.unpack_from(data, pos)
        api = APIS.get(key)
        if api is None or not api.knows(version) or not _HEADER.size - SIZE + max(id_size, 0) <= size <= limit:
            continue
        start = pos + _HEADER.size
        if not _PRINTABLE.fullmatch(data, start, start + max(id_size, 0)):
            continue
        stop = pos + SIZE + size
        if stop <= len(data):
            if readable(data, pos + SIZE, stop) and _goes_on(data, stop):
                return pos
        elif id_size > 0:
            return pos
    return None


def _goes_on(data: bytes, pos: int) -> bool:
    """Whether what follows a request may be another one, as far as it is there."""
    return len(data) - pos < _HEADER.size or _REQUEST.match(data, pos) is not None


def find_response(data: bytes, limit: int, waiting: Iterable[int], readable: Readable) -> int | None:
    """Where in ``data`` a response begins to one of the correlation ids in ``waiting``; None where none is found."""
    ids = [struct.pack(">i", number) for number, _ in zip(waiting, range(_MOST_WAITING), strict=False)]
    if not ids:
        return None
    for found in re.finditer(rb"(?=[\x00-\x06].{3}(?:" + b"|".join(map(re.escape, ids)) + rb"))", data, re.DOTALL):
        pos = found.start()
        size, _ = _RESPONSE.unpack_from(data, pos)
        stop = pos + SIZE + size
        if SIZE <= size <= limit and (readable(data, pos + SIZE, stop) if stop <= len(data) else pos == 0):
            return pos
    return None
