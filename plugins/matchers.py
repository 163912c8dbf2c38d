"""Matchers that look at the first bytes of a connection: which protocol does the client speak, and to whom?

``match = { tls = { server_names = ["*.example.com"], alpn = ["h2"] } }``, ``match = { redis = true }``

Every one takes ``true``, or ``false`` for "anything else". A client that waits for the server to speak first shows
nothing: with such a protocol on the same port, set the listener's ``peek_timeout`` and ``peek_timeout_action``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from l4proxy import Matcher, PeekInfo, Register, hookimpl
from l4proxy.plugins.name_patterns import NamePattern, NamePatterns
from l4proxy.protocols.client_hello import read_client_hello
from l4proxy.protocols.detect import DETECTORS, is_http1
from l4proxy.protocols.http1_host import read_host

__all__ = ["Http1", "Http1Match", "Http2", "Kafka", "Postgres", "ProxyProtocol", "Redis", "Ssh", "Tls", "TlsMatch"]

_read_hello = lru_cache(maxsize=1)(read_client_hello)
"""The chains of a listener look at the same bytes one after the other."""


@dataclass(frozen=True, slots=True)
class TlsMatch:
    server_names: tuple[NamePattern, ...] = ()
    """The client asks for one of these (SNI): `a.example.com`, `*.example.com` (everything below it), `*` (any name).
    Empty: whatever it asks for, also for none."""
    alpn: tuple[str, ...] = ()
    """The client offers one of these application protocols: `["h2", "postgresql"]`. Empty: whatever it offers."""


class Tls(Matcher[bool | TlsMatch]):
    """The client begins a TLS handshake."""

    name = "tls"

    def __init__(self, config: bool | TlsMatch) -> None:
        super().__init__(config)
        options = config if isinstance(config, TlsMatch) else TlsMatch()
        self._names = NamePatterns(options.server_names) if options.server_names else None
        self._alpn = frozenset(options.alpn)

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        hello = _read_hello(peek)
        if not hello:
            return None if hello is None else self.config is False
        info.protocol = self.name
        info.server_name = hello.server_name
        info.application_protocols = hello.application_protocols
        if self.config is False or (self._names is not None and hello.server_name not in self._names):
            return False
        return not self._alpn or not self._alpn.isdisjoint(hello.application_protocols)


@dataclass(frozen=True, slots=True)
class Http1Match:
    hosts: tuple[NamePattern, ...] = ()
    """The first request is for one of these hosts, on any port: `a.example.com`, `*.example.com` (everything below
    it), `*` (any that it names). Later requests on the same connection are not looked at."""


class Http1(Matcher[bool | Http1Match]):
    """The client sends an HTTP/1 request."""

    name = "http1"

    def __init__(self, config: bool | Http1Match) -> None:
        super().__init__(config)
        hosts = config.hosts if isinstance(config, Http1Match) else ()
        self._hosts = NamePatterns(hosts) if hosts else None

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        found = is_http1(peek)
        if not found:
            return None if found is None else self.config is False
        info.protocol = self.name
        if self._hosts is None:
            return self.config is not False
        host = read_host(peek)
        return host in self._hosts if isinstance(host, str) else host


class _Speaks(Matcher[bool]):
    """A matcher that the detector of its name decides."""

    def __init__(self, config: bool) -> None:
        super().__init__(config)
        self._detect = DETECTORS[self.name]

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        found = self._detect(peek)
        if found:
            info.protocol = self.name
        return None if found is None else found is self.config


class Http2(_Speaks):
    """The client begins HTTP/2 without TLS and without upgrade ("prior knowledge")."""

    name = "http2"


class Kafka(_Speaks):
    """The client sends a Kafka request."""

    name = "kafka"


class Postgres(_Speaks):
    """The client begins a PostgreSQL session, or asks for encryption or to cancel a query."""

    name = "postgres"


class ProxyProtocol(_Speaks):
    """A PROXY protocol header stands in front: one that no preamble of the listener took off, to be handed on as it
    is."""

    name = "proxy_protocol"


class Redis(_Speaks):
    """The client sends a Redis command."""

    name = "redis"


class Ssh(_Speaks):
    """The client sends its SSH version. Most do at once; some (`ssh-keyscan`) wait for the server's."""

    name = "ssh"


@hookimpl
def register_matchers(register: Register[Any]) -> None:
    for matcher in (Http1, Http2, Kafka, Postgres, ProxyProtocol, Redis, Ssh, Tls):
        register(matcher)
