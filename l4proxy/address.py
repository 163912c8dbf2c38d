"""Addresses as people write them: ``host:port``, ``:port``, ``[::1]:port``, ``unix:/path``, ``unix:@abstract``; and
ranges of them, ``host:first-last``."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Address", "AddressRange", "format_host_port", "in_ranges"]

PORTS_LIMIT = 1000
"""Ports of a range: each takes a socket, in every worker."""
_RANGE = re.compile(r"(?!unix:)(?P<address>.*:[0-9]{1,5})-(?P<last>[0-9]{1,5})")


def format_host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or to connect. ``path`` is set for unix sockets (``@name``: the abstract namespace), else host
    and port.

    ``:8080`` listens on every interface, and connects to this host; an empty ``host`` says so.
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises ValueError with the reason and an example."""
        if text.startswith("unix:"):
            path = text[5:]
            if not path or path == "@":
                hint = "write unix:/run/app.sock, or unix:@name for an abstract socket"
                raise ValueError(f"{text!r} has no path ({hint})")
            if "\0" in path:
                raise ValueError(f"{text!r}: a path has no NUL")
            if len(os.fsencode(path)) > 107:
                raise ValueError(f"{text!r}: a unix socket's path has at most 107 bytes")
            return cls(path=path)
        if "://" in text:
            raise ValueError(f"{text!r} is a URL (write host:port)")
        host, colon, port_text = text.rpartition(":")
        if not colon:
            raise ValueError(f"{text!r} has no port (write host:port, :port, [::1]:port or unix:/path)")
        if not (port_text.isascii() and port_text.isdigit()) or int(port_text) > 65535:
            raise ValueError(f"{text!r}: {port_text!r} is not a port (0 to 65535)")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            try:
                socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
            except OSError:
                raise ValueError(f"{text!r}: {host!r} is not an IPv6 address") from None
        elif any(not c.isprintable() or c in " /[]" for c in host):
            raise ValueError(f"{text!r}: {host!r} is not a host name")
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address stands in brackets (write [{host}]:{port_text})")
        return cls(host=host, port=int(port_text))

    @classmethod
    def from_config(cls, raw: object) -> Address:
        if not isinstance(raw, str):
            raise ValueError('an address is text, such as "127.0.0.1:8080"')
        return cls.parse(raw)

    @property
    def is_unix(self) -> bool:
        return bool(self.path)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect to who listens here: loopback, or a unix socket."""
        loopback = self.host.startswith("127.") and self.host.replace(".", "").isdigit()
        return self.is_unix or loopback or self.host in ("localhost", "::1")

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else format_host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class AddressRange:
    """One host's ports ``first`` to ``last``, both included: ``host:first-last``."""

    host: str
    first: int
    last: int

    @classmethod
    def matches(cls, text: str) -> bool:
        """Whether ``text`` is meant to be a range."""
        return _RANGE.fullmatch(text) is not None

    @classmethod
    def parse(cls, text: str) -> AddressRange:
        """Raises ValueError with the reason."""
        found = _RANGE.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is not a range of ports (write host:first-last)")
        start, last = Address.parse(found["address"]), int(found["last"])
        if not 0 < start.port <= last <= 65535:
            raise ValueError(f"{text!r}: {start.port}-{last} is not a range of ports (1-65535)")
        if last - start.port >= PORTS_LIMIT:
            raise ValueError(f"{text!r} has {last - start.port + 1} ports (at most {PORTS_LIMIT})")
        return cls(start.host, start.port, last)

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(Address(self.host, port) for port in range(self.first, self.last + 1))

    def __str__(self) -> str:
        return f"{format_host_port(self.host, self.first)}-{self.last}"


def in_ranges(addresses: Iterable[Address]) -> list[str]:
    """Addresses as text, for people: three or more neighbouring ports of a host are one range."""
    by_host: dict[str, list[Address]] = {}
    for address in addresses:
        by_host.setdefault(address.path or address.host, []).append(address)
    texts: list[str] = []
    for some in by_host.values():
        row: list[Address] = []
        for address in some:
            if row and (address.is_unix or address.port != row[-1].port + 1):
                texts += _row(row)
                row = []
            row.append(address)
        texts += _row(row)
    return texts


def _row(row: list[Address]) -> list[str]:
    if len(row) < 3:
        return [str(address) for address in row]
    return [str(AddressRange(row[0].host, row[0].port, row[-1].port))]
