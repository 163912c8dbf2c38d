"""Recordings: everything that conversations were given, as lines of JSON, to be read, searched and replayed.

The first line says what it is, ``{"recording": 1, "protocol": "kafka"}``. Every other one has ``at`` (seconds since the
epoch) and ``connection`` (its number), and one of these:

====================================== ==========================================================================
``open``: ``{"client": ..., ...}``     A connection: its ends, and ``midway`` where its beginning was not seen.
``server``: ``"192.0.2.1:6379"``       The server, where that was not known from the beginning.
``from``: ``"client"`` or ``"server"`` Bytes, as ``text`` where they are UTF-8 that can be printed, else as ``data`` in
                                       Base64: a frame of the protocol, or a chunk as it came. ``began`` is when its
                                       first byte came, if earlier; ``part`` tells that this is no whole frame.
``eof``: ``"client"`` or ``"server"``  That side sends no more.
``lost``: ``"client"`` or ``"server"`` A gap, of ``size`` bytes (null: it is not known how many).
``close``: ``true``                    The connection is over.
====================================== ==========================================================================
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable
from typing import IO, Any, NamedTuple

from l4proxy.errors import L4ProxyError
from l4proxy.filter import Peer, Side
from l4proxy.inspector import Framer, Inspector, Link

__all__ = ["VERSION", "Recorder", "parse_header", "parse_line"]

VERSION = 1
FRAME_LIMIT = 16 << 20
"""Bytes of a frame that are kept until it is whole; a longer one is recorded in parts."""
_PRINTABLE = re.compile(r"[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]*")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Recorder:
    """Writes a recording. Frames are cut as the inspector cuts them. When that fails, nothing more is written, and
    ``on_error`` is told why."""

    def __init__(self, path: str, protocol: str, on_error: Callable[[L4ProxyError], object]) -> None:
        """Raises L4ProxyError. What passes may be secret: nobody else may read the file."""
        try:
            self._file: IO[str] = open(path, "w", encoding="utf-8", opener=_private)  # noqa: SIM115
        except OSError as error:
            raise L4ProxyError(f"--record {path}: {error.strerror}") from error
        self.lines = 0
        self._path = path
        self._on_error = on_error
        self._failed = False
        self._pieces: dict[tuple[int, bool], _Pieces] = {}
        self._framer: Callable[[Side], Framer | None] = lambda side: None
        self._serverless: set[int] = set()
        """Connections whose server was not known yet."""
        self._write({"recording": VERSION, "protocol": protocol})

    def cut_as(self, inspector: Inspector[Any]) -> None:
        self._framer = inspector.framer

    def _write(self, line: dict[str, Any]) -> None:
        self._do(lambda: self._file.write(_ENCODER.encode(line) + "\n"))
        self.lines += 1

    def _do(self, write: Callable[[], object]) -> None:
        if self._failed:
            return
        try:
            write()
        except OSError as error:
            self._failed = True
            with contextlib.suppress(OSError):
                self._file.close()
            self._on_error(L4ProxyError(f"--record {self._path}: {error.strerror}"))

    def flush(self) -> None:
        """Let readers of the file see what there is."""
        self._do(self._file.flush)

    def opened(self, link: Link, at: float) -> None:
        ends = {"client": str(link.client), "server": None if link.server is None else str(link.server)}
        self._write({"at": at, "connection": link.id, "open": {**ends, **({"midway": True} if link.midway else {})}})
        if link.server is None:
            self._serverless.add(link.id)
        for from_client in (True, False):
            framer = None if link.midway else self._framer(Side.CLIENT if from_client else Side.UPSTREAM)
            self._pieces[link.id, from_client] = _Pieces(framer)

    def data(self, link: Link, from_client: bool, data: bytes, at: float) -> None:
        if link.id in self._serverless and link.server is not None:
            self._serverless.discard(link.id)
            self._write({"at": at, "connection": link.id, "server": str(link.server)})
        for piece in self._pieces[link.id, from_client].take(data, at):
            self._piece(link, from_client, piece, at)

    def _piece(self, link: Link, from_client: bool, piece: _Piece, at: float) -> None:
        began = {} if piece.began == at else {"began": piece.began}
        part = {} if piece.whole else {"part": True}
        encoded = _encoded(piece.data)
        self._write({"at": at, "connection": link.id, "from": _side(from_client), **encoded, **began, **part})

    def _rest(self, link: Link, from_client: bool, at: float) -> None:
        for piece in self._pieces[link.id, from_client].rest():
            self._piece(link, from_client, piece, at)

    def eof(self, link: Link, from_client: bool, at: float) -> None:
        self._rest(link, from_client, at)
        self._write({"at": at, "connection": link.id, "eof": _side(from_client)})

    def lost(self, link: Link, from_client: bool, size: int | None, at: float) -> None:
        self._rest(link, from_client, at)
        self._pieces[link.id, from_client] = _Pieces(None)
        self._write({"at": at, "connection": link.id, "lost": _side(from_client), "size": size})

    def stopped(self, link: Link, at: float) -> None:
        """These are no frames of the protocol: chunks from now on."""
        for from_client in (True, False):
            self._rest(link, from_client, at)
            self._pieces[link.id, from_client] = _Pieces(None)

    def closed(self, link: Link, at: float) -> None:
        for from_client in (True, False):
            self._rest(link, from_client, at)
            del self._pieces[link.id, from_client]
        self._serverless.discard(link.id)
        self._write({"at": at, "connection": link.id, "close": True})

    def close(self) -> None:
        self._do(self._file.close)


class _Piece(NamedTuple):
    data: bytes
    whole: bool
    """Whether it is what the protocol calls a frame."""
    began: float
    """When the first byte of it came."""


class _Pieces:
    """One direction, cut into frames, or left in chunks where nobody can cut it (any more)."""

    def __init__(self, framer: Framer | None) -> None:
        self._framer = framer
        self._kept = bytearray()
        """The beginning of a frame."""
        self._began = 0.0
        """When that came."""
        self._written = 0
        """How much of a frame that is too long has been recorded."""

    def take(self, data: bytes, at: float) -> Iterable[_Piece]:
        if self._framer is None:
            yield _Piece(data, True, at)
            return
        began = self._began if self._kept else at
        self._kept += data
        try:
            frames = list(self._framer(data))
        except Exception:
            self._framer = None
            frames = []
        for frame in frames:
            size = len(frame) - self._written
            piece = bytes(self._kept[:size])
            del self._kept[:size]
            yield _Piece(piece, not self._written, began)
            self._written, began = 0, at
        self._began = began
        if self._framer is None or len(self._kept) > FRAME_LIMIT:
            self._written += len(self._kept)
            yield from self.rest()

    def rest(self) -> Iterable[_Piece]:
        """What is there of a frame that is not whole."""
        if self._kept:
            yield _Piece(bytes(self._kept), False, self._began)
            self._kept.clear()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _side(from_client: bool) -> str:
    return "client" if from_client else "server"


def _encoded(data: bytes) -> dict[str, str]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if _PRINTABLE.fullmatch(text):
        return {"text": text}
    return {"data": base64.b64encode(data).decode()}


# Reading


def parse_header(line: str) -> str:
    """The protocol that a recording is of. Raises ValueError."""
    header = _object(line)
    if "recording" not in header:
        raise ValueError("this is no recording: --record makes one, --pcap reads captures")
    if header["recording"] != VERSION:
        raise ValueError(f"a recording of version {header['recording']}, and only {VERSION} is known")
    return str(header.get("protocol", ""))


def parse_line(line: str) -> dict[str, Any]:
    """One line; bytes are under ``bytes``. Raises ValueError."""
    found = _object(line)
    if not isinstance(found.get("at"), int | float) or not isinstance(found.get("connection"), int):
        raise ValueError("a line needs a time, at, and a connection")
    if "text" in found:
        found["bytes"] = str(found["text"]).encode()
    elif "data" in found:
        found["bytes"] = base64.b64decode(str(found["data"]), validate=True)
    return found


def _object(line: str) -> dict[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("a line is to be a JSON object")
    return found


def parse_peer(text: str) -> Peer:
    """``192.0.2.1:4711``, as `Peer` writes it."""
    host, _, port = text.rpartition(":")
    return Peer(host.strip("[]"), int(port)) if port.isdecimal() else Peer(text, 0)
