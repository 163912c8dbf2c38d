"""What the system says about names: ``/etc/hosts`` (hosts(5)) and ``/etc/resolv.conf`` (resolv.conf(5))."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from l4proxy.address import Address

__all__ = ["ReadFile", "ResolvConf", "check_servers", "is_ip", "parse_hosts", "parse_resolv_conf"]

T = TypeVar("T")


def is_ip(host: str) -> bool:
    """Whether this is an IPv4 or IPv6 address (which may have a zone: ``fe80::1%eth0``)."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
    except (OSError, ValueError):
        return False
    return True


def check_servers(servers: Iterable[Address]) -> None:
    """Raises ValueError for an option ``servers`` with what is not the address of a name server."""
    for server in servers:
        if not is_ip(server.host):
            raise ValueError(f"servers: {server} is not the address of a name server (such as 192.0.2.53:53)")


class ReadFile(Generic[T]):
    """A small file that is parsed again when it has changed. One that cannot be read counts as empty."""

    def __init__(self, path: str | Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._version: tuple[int, int, int] | None = None
        self._content = parse("")

    def get(self) -> T:
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version != self._version:
                self._content = self._parse(Path(self._path).read_text(errors="replace"))
                self._version = version
        except OSError:
            self._content = self._parse("")
            self._version = None
        return self._content


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """How to ask for names."""

    servers: tuple[Address, ...] = (Address("127.0.0.1", 53),)
    search: tuple[str, ...] = ()
    """Domains that are put behind a name that may be short for something."""
    ndots: int = 1
    """A name with at least so many dots is tried as it is before the search domains are."""
    timeout: float = 2.0
    """Seconds that a server gets for an answer. The C library's default is 5, which is more than a client waits for."""
    attempts: int = 2
    """How often all servers are asked."""
    rotate: bool = False
    """Do not always begin with the same server."""

    def candidates(self, name: str) -> list[str]:
        """The full names that ``name`` may stand for, in the order in which to try them."""
        if name.endswith("."):
            return [name.removesuffix(".")]
        searched = [f"{name}.{domain}" for domain in self.search]
        return [name, *searched] if name.count(".") >= self.ndots else [*searched, name]


def parse_resolv_conf(text: str) -> ResolvConf:
    """What is not understood is left out, as the C library does it."""
    servers: list[Address] = []
    search: tuple[str, ...] = ()
    options: dict[str, int] = {}
    rotate = False
    for line in text.splitlines():
        match line.partition("#")[0].partition(";")[0].split():
            case ["nameserver", host, *_] if is_ip(host):
                servers.append(Address(host, 53))
            case ["search" | "domain", *domains]:
                search = tuple(domain.strip(".") for domain in domains if domain.strip("."))
            case ["options", *words]:
                rotate = rotate or "rotate" in words
                for word in words:
                    option, _, number = word.partition(":")
                    if option in _LIMITS and number.isdecimal():
                        low, high = _LIMITS[option]
                        options[option] = min(max(int(number), low), high)
    return ResolvConf(tuple(servers) or ResolvConf().servers, search, rotate=rotate, **options)


_LIMITS = {"ndots": (0, 15), "timeout": (1, 30), "attempts": (1, 5)}


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Addresses by name, names in lower case."""
    hosts: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        for name in names if is_ip(address) else ():
            known = hosts.get(name.lower(), ())
            if address not in known:
                hosts[name.lower()] = (*known, address)
    return hosts
