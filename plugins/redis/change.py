"""Commands by which a client says who it is: what identity they ask for."""

from __future__ import annotations

from typing import NamedTuple

from l4proxy.plugins.redis.identity import Identity
from l4proxy.plugins.redis.treatment import Role
from l4proxy.protocols.redis.request import arguments, encode_command
from l4proxy.protocols.redis.values import Failure, Map, Value, decode, encode

__all__ = ["Change", "change_of", "is_client_name"]


class Change(NamedTuple):
    """What a client wants to be, if the server agrees."""

    identity: Identity
    command: bytes
    """What asks the server, on a connection that others share."""
    logs_in: bool = False
    name: bytes | None = None
    """What it calls itself from then on."""

    def instead_of_hello(self) -> bytes:
        """What asks a server whether the client may be that, where it must not change its version of the protocol."""
        if not self.logs_in:
            return encode_command(b"PING")
        return encode_command(b"AUTH", self.identity.username, self.identity.password or b"")

    def hello(self, info: bytes) -> bytes:
        """What ``HELLO`` would have answered, by what the server says of itself (``INFO``)."""
        value, _ = decode(info)
        if isinstance(value, Failure):
            return info
        told = dict(line.split(b":", 1) for line in value.split(b"\r\n") if b":" in line)
        name = told.get(b"server_name", b"redis")  # Valkey
        fields: list[tuple[bytes, Value]] = [
            (b"server", name),
            (b"version", told.get(name + b"_version", b"unknown")),
            (b"proto", self.identity.protocol),
            (b"id", 0),
            (b"mode", told.get(b"redis_mode", b"standalone")),
            (b"role", told.get(b"role", b"master")),
            (b"modules", []),
        ]
        return encode(Map(fields), self.identity.protocol)


def change_of(present: Identity, role: Role, command: bytes) -> Change | None:
    """None where the command changes nothing: it only asks, or is wrong in a way that the server will tell."""
    words = arguments(command)
    if role is Role.SELECT and len(words) == 2 and words[1].isdigit():
        return Change(present._replace(database=b"%d" % int(words[1])), command)
    if role is Role.READONLY and len(words) == 1:
        return Change(present._replace(readonly=words[0].upper() == b"READONLY"), command)
    if role is Role.AUTH and len(words) in (2, 3):
        username = words[1] if len(words) == 3 else b""
        return Change(present._replace(username=username, password=words[-1]), command, logs_in=True)
    if role is Role.HELLO:
        return _hello(present, words)
    return None


def _hello(present: Identity, words: list[bytes]) -> Change | None:
    """``HELLO 3 [AUTH username password] [SETNAME name]``. The name does not go to a shared connection."""
    if len(words) < 2 or words[1] not in (b"2", b"3"):
        return None
    identity, name, logs_in = present._replace(protocol=int(words[1])), None, False
    kept, at = words[:2], 2
    while at < len(words):
        option = words[at].upper()
        if option == b"AUTH" and at + 2 < len(words):
            identity = identity._replace(username=words[at + 1], password=words[at + 2])
            kept += words[at : at + 3]
            logs_in = True
            at += 3
        elif option == b"SETNAME" and at + 1 < len(words) and is_client_name(words[at + 1]):
            name = words[at + 1]
            at += 2
        else:
            return None
    return Change(identity, encode_command(*kept), logs_in, name)


def is_client_name(name: bytes) -> bool:
    """Whether the server takes it: printable, without blanks."""
    return all(33 <= byte <= 126 for byte in name)
