"""PostgreSQL's messages for tests, built from their declarations."""

from __future__ import annotations

from typing import Any

from l4proxy_postgres.messages import CANCEL, CLIENT, REQUEST, SERVER, STARTUP
from l4proxy_postgres.session import CANCEL_REQUEST, GSSENC_REQUEST, SSL_REQUEST

__all__ = ["CANCEL_PACKET", "GSSENC_PACKET", "READY", "SSL_PACKET", "SYNC", "client", "complete", "error", "row",
           "server", "startup"]  # fmt: skip


def client(message: str, /, **fields: Any) -> bytes:
    return bytes(CLIENT[message].build({"body": fields}))


def server(message: str, /, **fields: Any) -> bytes:
    return bytes(SERVER[message].build({"body": fields}))


def startup(version: int = 3 << 16, **parameters: str) -> bytes:
    pairs = [{"name": name.encode(), "text": text.encode()} for name, text in parameters.items()]
    return bytes(STARTUP.build({"version": version, "parameters": [*pairs, {"name": b"", "text": None}]}))


def complete(tag: str) -> bytes:
    return server("command_complete", tag=tag.encode())


def row(*values: bytes | None) -> bytes:
    return server("data_row", values=[{"data": value} for value in values])


def error(sqlstate: str, message: str = "no") -> bytes:
    fields = {b"S": b"ERROR", b"V": b"ERROR", b"C": sqlstate.encode(), b"M": message.encode()}
    pairs = [{"field": field, "text": text} for field, text in fields.items()]
    return server("error", fields=[*pairs, {"field": b"\0", "text": None}])


SSL_PACKET = bytes(REQUEST.build({"code": SSL_REQUEST}))
GSSENC_PACKET = bytes(REQUEST.build({"code": GSSENC_REQUEST}))
CANCEL_PACKET = bytes(CANCEL.build({"code": CANCEL_REQUEST, "process": 7, "secret": b"1234"}))
READY = server("ready", status=b"I")
SYNC = client("sync")
