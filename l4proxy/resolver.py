"""Asynchronous look-up of host names: the contract, and the system's own resolver in a thread."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass

from l4proxy.errors import L4ProxyError

__all__ = ["Addresses", "ResolveError", "Resolver", "Service", "Services", "SystemResolver"]


class ResolveError(L4ProxyError):
    """A name could not be looked up. ``code`` is the stable reason: ``not_found``, ``timeout``, ``failed``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Addresses:
    """The IP addresses of a host, IPv4 and IPv6, in the order in which to try them; at least one.

    ``ttl`` is for how many seconds the answer holds, None where the source (a file, the system) does not say.
    """

    hosts: tuple[str, ...]
    ttl: float | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """One server of a service (RFC 2782): those of the lowest ``priority`` are meant, in proportion to ``weight``."""

    host: str
    port: int
    priority: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Services:
    """The answer to a service's name; at least one server."""

    services: tuple[Service, ...]
    ttl: float | None = None


class Resolver(ABC):
    """Looks up names. Both methods raise ResolveError and may be cancelled."""

    @abstractmethod
    async def addresses(self, host: str) -> Addresses:
        """Look up a host's addresses."""

    @abstractmethod
    async def services(self, name: str) -> Services:
        """Look up the servers of ``_service._proto.domain`` (SRV records)."""


class SystemResolver(Resolver):
    """``getaddrinfo`` in a thread: everything the system is set up for, but no TTLs and no services."""

    async def addresses(self, host: str) -> Addresses:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            code = "timeout" if error.errno == socket.EAI_AGAIN else "not_found"
            raise ResolveError(code, error.strerror or str(error)) from None
        except UnicodeError:
            raise ResolveError("not_found", "not a host name") from None
        return Addresses(tuple(dict.fromkeys(str(address[0]) for *_, address in found)))

    async def services(self, name: str) -> Services:
        raise ResolveError("failed", "the system's resolver cannot look up services (SRV records)")
