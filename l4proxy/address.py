"""Addresses as people write them: ``host:port``, ``:port``, ``[::1]:port``, ``unix:/path``, ``unix:@abstract``."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

__all__ = ["Address", "format_host_port"]


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

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else format_host_port(self.host, self.port)
