"""What a client may ask for: the versions that its broker and whoever stands between them both understand.

A client asks which versions of which APIs a broker speaks (ApiVersions) and then takes the newest that it knows itself.
A proxy that reads messages must not let the two agree on one that it cannot read. So it cuts the broker's answer down.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from l4proxy.protocols.kafka.declarations.cluster import API_VERSIONS
from l4proxy.protocols.kafka.plan import UNSUPPORTED_VERSION
from l4proxy.protocols.kafka.splice import Change, encode_count
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.protocols.kafka.wire import UNREADABLE

__all__ = ["Versions", "cap", "encode_refusal"]

Versions = Callable[[int], tuple[int, int] | None]
"""By key: the first and the last version of an API that may be used; None: none."""

_walker = Walker(API_VERSIONS.response, "error_code api_keys@ api_keys(@ api_key min_version max_version)")
_versions = struct.Struct(">hh").pack
_KEY_SIZE = 2


def cap(version: int, data: bytes, pos: int, stop: int, versions: Versions) -> list[Change]:
    """What is to be changed in the body of an ApiVersions response so that it offers no more than ``versions``. Raises
    `wire.UNREADABLE`.

    A broker to which the request was too new answers as if it were of version 0 (KIP-511). Who only pretends to be one
    may not (librdkafka's mock cluster); clients look at the error code and ask again, so that passes as it is."""
    if version and stop - pos >= 2 and int.from_bytes(data[pos : pos + 2], "big") == UNSUPPORTED_VERSION:
        try:
            _, array, elements = _walker.whole(0)(data, pos, stop)
        except UNREADABLE:
            return []
        version = 0
    else:
        _, array, elements = _walker.whole(version)(data, pos, stop)
    changes: list[Change] = []
    left_out = 0
    for span, key, first, last in elements or ():
        allowed = versions(key)
        both = (max(first, allowed[0]), min(last, allowed[1])) if allowed is not None else (0, -1)
        if both[0] > both[1]:
            left_out += 1
            changes.append((*span, b""))
        elif both != (first, last):
            at = span[0] + _KEY_SIZE
            changes.append((at, at + 4, _versions(*both)))
    if left_out:
        count = encode_count(len(elements) - left_out, flexible=API_VERSIONS.is_flexible(version))
        changes.insert(0, (array[0], elements[0][0][0], count))
    return changes


def encode_refusal(correlation_id: int) -> bytes:
    """The answer, a whole frame, to an ApiVersions request that is too new: of version 0, with the versions of
    ApiVersions itself, so that the client knows how to ask again (KIP-511)."""
    body = struct.pack(">ihihhh", correlation_id, UNSUPPORTED_VERSION, 1, API_VERSIONS.key, 0, API_VERSIONS.last)
    return struct.pack(">i", len(body)) + body
