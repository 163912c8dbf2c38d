"""Who a connection to a server is, and how it speaks: what makes two connections interchangeable."""

from __future__ import annotations

from typing import NamedTuple

from l4proxy.protocols.redis.request import encode_command

__all__ = ["Identity"]


class Identity(NamedTuple):
    """Clients of the same identity share connections."""

    protocol: int = 2
    """RESP2 or RESP3: what the client speaks."""
    username: bytes = b""
    """Empty with a password: the server's ``default`` user."""
    password: bytes | None = None
    database: bytes = b"0"
    readonly: bool = False
    """Reads may be answered by a replica of a cluster (``READONLY``)."""

    def handshake(self) -> list[bytes]:
        """The commands that make a new connection this one. All are answered before anything else is sent."""
        username = self.username or b"default"
        commands = []
        if self.protocol == 3:
            auth = [] if self.password is None else [b"AUTH", username, self.password]
            commands.append(encode_command(b"HELLO", b"3", *auth))
        elif self.password is not None:
            commands.append(encode_command(b"AUTH", *([self.username] if self.username else []), self.password))
        if self.database != b"0":
            commands.append(encode_command(b"SELECT", self.database))
        if self.readonly:
            commands.append(encode_command(b"READONLY"))
        return commands

    def __repr__(self) -> str:
        user = f" {self.username.decode('latin-1') or 'default'}" if self.password is not None else ""
        return f"<RESP{self.protocol}{user} database {self.database.decode('latin-1')}>"
