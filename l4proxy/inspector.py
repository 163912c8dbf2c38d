"""The contract of inspectors: what a protocol's traffic says, wherever it is watched from.

An **inspector** is everything that is known of one protocol's conversations that one place sees. That place is a use
of an observer filter in a proxy's configuration, or one run of ``l4proxy sniff``, whose source may be a proxy of its
own, a network interface, a capture file or a recording. The inspector cannot tell, and need not. It does no IO and
asks no clock: it is given bytes, in order, with the time of their arrival.

The life of an inspector, in order:

1. it is made, with its options and the statistics that it counts in;
2. ``conversation(link)`` for every connection, which returns a `Conversation`;
3. that gets ``client_data`` and ``server_data`` for every chunk (chunk borders mean nothing), ``lost`` where a capture
   has a gap, ``client_eof`` and ``server_eof`` at most once each, and ``close`` exactly once, always last;
4. ``tables()`` once, by a view that shows them; their ``rows`` whenever it draws.

Everything runs in one thread. What a conversation does is *behind* the traffic: it delays nothing and can break
nothing. What it raises ends the watching of this one connection:

``StopWatching``
    There is nothing more to see and nobody is to blame: the connection goes on encrypted, or as another protocol.
``RemoteProtocolError`` (``l4proxy.codec``)
    These bytes are not the protocol, or not as it is known here. Codecs raise it already.
anything else
    A mistake in the inspector; the log has its traceback.

Each is counted by its ``reason`` or ``code`` in ``l4proxy_inspection_stopped_total``, and logged, but not for every
connection. TLS at the beginning of a connection is recognised before a conversation sees it.

What an inspector must not do is to grow with the traffic: what it keeps per connection, and in all, is bounded by
options with names, and values that clients choose are labels only within the registry's budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from l4proxy.exchange import Exchange, Notice

if TYPE_CHECKING:
    from l4proxy.exchange import Selector
    from l4proxy.filter import Peer, Side
    from l4proxy.stats_registry import StatsRegistry
    from l4proxy.table import Table

__all__ = ["Conversation", "Framer", "Inspector", "Link", "StopWatching"]

C = TypeVar("C")

Framer = Callable[[bytes], Iterable[bytes]]
"""Takes the chunks of one direction, returns the whole frames that each of them completes."""


class StopWatching(Exception):
    """There is nothing more to see of this connection. ``reason`` is a stable snake-case name, used as a label
    (``tls``, ``gssapi``, ``upgrade``); ``message`` is for people."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason


class Link:
    """The connection that a conversation is held on.

    ``id`` is unique in this run. ``server`` is None while it is not known: a proxy's client may speak before there is
    an upstream. ``midway`` tells that the watching began when the connection was under way already, so that the first
    bytes may be the middle of anything.

    ``state`` is for what is known of the connection as a whole. Keys are ``"inspector_name:key"``. In a proxy it is
    ``conn.state`` of its filters, and access logs print it with ``%FILTER_STATE(kafka:client_id)%``.
    """

    __slots__ = ("client", "id", "midway", "server", "state")

    def __init__(
        self,
        id: int,
        client: Peer,
        server: Peer | None = None,
        *,
        midway: bool = False,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.id = id
        self.client = client
        self.server = server
        self.midway = midway
        self.state: dict[str, Any] = {} if state is None else state


class Conversation:
    """One connection, as both its ends speak. An inspector's ``conversation`` returns a subclass.

    ``at`` is the time of arrival in seconds since the epoch, of a clock that never goes back within a conversation.
    The two directions come in the order in which they were seen; a capture may have seen a response before the request.
    Only one of them may be there at all, where the other took another way.
    """

    __slots__ = ()

    def client_data(self, data: bytes, at: float) -> int | None:
        """A chunk that the client sent. The hot path: called for every chunk, never empty.

        What it returns says how many of the bytes that the client sends next it has no need of. Who feeds it may keep
        these from it, if that is cheaper, and tells ``skipped`` so; or go on as ever."""
        raise NotImplementedError

    def server_data(self, data: bytes, at: float) -> int | None:
        """A chunk that the server sent."""
        raise NotImplementedError

    def skipped(self, side: Side, size: int) -> None:
        """The next ``size`` bytes of ``side``, all of them such as it had no need of, pass without being shown."""

    def client_eof(self, at: float) -> None:
        """The client will send no more."""

    def server_eof(self, at: float) -> None:
        """The server will send no more."""

    def lost(self, side: Side, size: int | None, at: float) -> bool:
        """``size`` bytes that ``side`` sent were not captured; None: it is not known how many. What that side sends
        next may be the middle of anything, unless a frame is known to be longer than the gap.

        Return True to go on, and find a place from which it makes sense again. False (unless this is overridden) ends
        the conversation; another one is begun, with ``link.midway`` set.
        """
        return False

    def close(self, at: float) -> None:
        """The connection is over, or is not watched any more. Called exactly once, also after a method has raised."""


class Inspector(Generic[C]):
    """Base of every inspector. ``C`` is a frozen dataclass, its options; ``l4proxy sniff`` makes a command-line option
    of each of its fields. Registered by ``register_inspectors``.

    A proxy uses an inspector through an observer filter (``l4proxy.plugins.observer``), which is three lines long.
    """

    name: ClassVar[str]
    """The protocol: ``l4proxy sniff NAME``. Unique, lower case with underscores."""
    status: ClassVar[str] = "stable"
    """``stable``, ``alpha`` or ``wip``; shown by ``l4proxy plugins``."""
    ports: ClassVar[tuple[int, ...]] = ()
    """Where its servers usually listen: what a passive capture looks at unless it is told other ports."""
    terminal: ClassVar[str] = "tcp_proxy"
    """The filter with which ``l4proxy sniff NAME UPSTREAM`` ends its chain. It has an option ``cluster``."""
    more_ports: ClassVar[int] = 0
    """Ports behind the first one on which the proxy of ``sniff`` listens, too, for a terminal filter that tells servers
    apart by them."""
    kind_word: ClassVar[str] = "kind"
    """What the protocol calls the kind of an exchange: ``api``, ``command``, ``method``. ``sniff`` has an option
    ``--api`` then, and lists a column of this title."""
    selectors: ClassVar[tuple[Selector, ...]] = ()
    """Options of ``sniff`` that choose among exchanges, beside ``--client``, ``--errors``, ``--slow`` and that of the
    kind."""

    config: C
    stats: StatsRegistry
    on_exchange: Callable[[Exchange], object] | None
    """Set by a view that wants exchanges, before or while there is traffic. While it is None, build none."""

    def __init__(self, config: C, stats: StatsRegistry) -> None:
        """Raise ValueError to refuse the options. Groups of metrics are fetched here, once."""
        self.config = config
        self.stats = stats
        self.on_exchange = None

    def conversation(self, link: Link) -> Conversation:
        """A connection was seen for the first time, or again from the middle (``link.midway``)."""
        raise NotImplementedError

    def notice(self, link: Link, at: float, kind: str, text: str, *, error: str = "") -> None:
        """Tell who wants exchanges of something that is none: a rebalance, a leader that changed. For what is rare."""
        if self.on_exchange is not None:
            self.on_exchange(Notice(link, at, kind, text, error=error))

    def tables(self) -> Sequence[Table]:
        """What a live view shows, the most important table first. The rows are asked for when they are drawn."""
        return ()

    def framer(self, side: Side) -> Framer | None:
        """How a recording cuts what one side of a connection sends: a new framer each time, or None for "as the chunks
        came". What a framer returns, in a row, are the bytes that it was given, but for an unfinished frame at the end.
        It need not be able to read damaged bytes: when it raises, chunks are recorded from there on."""
        return None
