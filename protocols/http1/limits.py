"""What a peer may ask of a codec."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection's parser. More is an error of the name in parentheses."""

    max_line: int = 16 * 1024
    """Bytes of a request line (``uri_too_long``, 414) or status line (``bad_status_line``)."""
    max_head: int = 60 * 1024
    """Bytes of a head, lines and line ends together (``head_too_large``, 431)."""
    max_fields: int = 100
    """Fields of a head, or of trailers (``too_many_fields``, 431)."""
    max_trailers: int = 8 * 1024
    """Bytes of trailers (``trailers_too_large``, 431)."""
    max_chunk_line: int = 256
    """Bytes of the line with a chunk's size and its extensions (``chunk_line_too_long``, 400)."""
    max_interim: int = 16
    """1xx responses before the real one (``too_many_interim``)."""
