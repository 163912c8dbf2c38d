"""The codecs of record batches, to be read: gzip from the standard library, the others in Python.

Those are for looking into batches where somebody asks for it: of JSON, a megabyte that comes out takes
30 ms (LZ4), 45 (Snappy) or 250 (Zstandard).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from l4proxy.protocols.kafka.wire import UNREADABLE, Unreadable

__all__ = ["UnsupportedCodec", "unpack_codec"]

_GZIP = 16 + zlib.MAX_WBITS


class UnsupportedCodec(Unreadable):
    """A codec that is not known here."""


def unpack_codec(codec: str, data: bytes, limit: int) -> bytes:
    """What is in ``data``, by the name of its codec (`batches.CODECS`). Raises `wire.Unreadable`: ``unpack_limit`` for
    more than ``limit`` bytes, ``bad_compression``, ``unsupported_codec``."""
    unpack = _unpackers().get(codec)
    if unpack is None:
        raise UnsupportedCodec(f"the records are compressed with {codec}", code="unsupported_codec")
    try:
        return unpack(data, limit)
    except (*UNREADABLE, zlib.error) as error:
        if isinstance(error, Unreadable) and error.code == "unpack_limit":
            raise Unreadable(f"the records have more than {limit} bytes when unpacked", code="unpack_limit") from error
        raise Unreadable(f"the records are not {codec}: {error}", code="bad_compression") from error


def _unpackers() -> dict[str, Callable[[bytes, int], bytes]]:
    from l4proxy.protocols.kafka.lz4 import unpack_lz4
    from l4proxy.protocols.kafka.snappy import unpack_snappy
    from l4proxy.protocols.kafka.zstd import unpack_zstd

    return {"gzip": _unpack_gzip, "snappy": unpack_snappy, "lz4": unpack_lz4, "zstd": unpack_zstd}


def _unpack_gzip(data: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    unpacked = unpacker.decompress(data, limit)
    if unpacker.unconsumed_tail:
        raise Unreadable("too much", code="unpack_limit")
    return unpacked
