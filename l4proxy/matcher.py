"""The contract of the peek stage: which filter chain shall a new connection have?

The listener looks at the first bytes of a connection without consuming them. A **preamble** (the PROXY header) is taken
off first; then the listener's chains are tried in the order in which they are written, and the first whose matchers all
say yes is taken. What was peeked is read again, from the socket, by that chain.

Both run for every connection, so they decide from what is there: no waiting, no look-ups over the network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

__all__ = ["Matcher", "PeekInfo", "Preamble", "PreambleResult"]

C = TypeVar("C")
HostPort = tuple[str, int]


class PeekInfo:
    """What is known of a connection while its chain is chosen. Matchers read it and add what they learn.

    ``source`` and ``destination`` are ``(host, port)``; a unix socket has ``("", 0)``. ``destination`` is the address
    the client meant: the listener's own, the one before ``REDIRECT`` or ``TPROXY``, or the one a PROXY header names.
    ``direct_source`` and ``direct_destination`` are always the socket's own two ends. ``server_name`` (TLS SNI),
    ``application_protocols`` (ALPN) and ``protocol`` (``"tls"``, ``"http1"``, ``"redis"`` ...) are filled in by the
    matchers that find them; they end in access logs and hash policies.
    """

    __slots__ = ("application_protocols", "destination", "direct_destination", "direct_source", "protocol",
                 "server_name", "source", "tlvs")  # fmt: skip

    def __init__(self, source: HostPort, destination: HostPort) -> None:
        self.source = source
        self.direct_source = source
        self.destination = destination
        self.direct_destination = destination
        self.server_name = ""
        self.application_protocols: tuple[str, ...] = ()
        self.protocol = ""
        self.tlvs: dict[int, bytes] = {}


class Matcher(ABC, Generic[C]):
    """One condition of ``match = { NAME = OPTIONS }``. One instance per configured use, registered by
    ``register_matchers``.

    ``C`` is a frozen dataclass of options, or a plain type that the configuration can hold: ``Matcher[tuple[Network,
    ...]]`` is written ``match = { source = ["10.0.0.0/8"] }``, and ``Matcher[bool]`` is written ``match = { ssh = true
    }``. Matchers are asked at once, before any byte has come: a chain of only such as decide from addresses waits for
    nothing, which is what a server-first protocol (SMTP, MySQL) needs.
    """

    name: ClassVar[str]

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        """Yes, no, or None: not decided by these bytes. ``peek`` is everything that has arrived so far (possibly
        nothing).

        Called again as more arrives, until the chain is chosen or the limits of the peek stage are reached, where None
        counts as no. An exception closes the connection and is counted; it never reaches another one.
        """


class PreambleResult:
    """What a preamble found: ``consumed`` bytes to take off the stream (0: it is not there), and what they say.

    ``client`` and ``destination`` replace the socket's own addresses; ``tlvs`` are the PROXY v2 extensions by type.
    """

    __slots__ = ("client", "consumed", "destination", "tlvs")

    def __init__(
        self,
        consumed: int,
        *,
        client: HostPort | None = None,
        destination: HostPort | None = None,
        tlvs: dict[int, bytes] | None = None,
    ) -> None:
        self.consumed = consumed
        self.client = client
        self.destination = destination
        self.tlvs = tlvs or {}


class Preamble(ABC, Generic[C]):
    """Something in front of the real protocol that is read and taken off before matching (and before TLS).

    One instance per configured use (``preambles = [{ use = "proxy_protocol" }]`` in a listener), registered by
    ``register_preambles``.
    """

    name: ClassVar[str]

    def __init__(self, config: C) -> None:
        self.config = config

    @abstractmethod
    def read(self, peek: bytes, info: PeekInfo) -> PreambleResult | None:
        """Return the result, or None for "more bytes, please". Called for each arrival of bytes with all of them so
        far.

        Raises RemoteProtocolError (``l4proxy.codec``) when the connection must be refused.
        """
