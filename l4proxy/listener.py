"""A listener: accepts connections, chooses their filter chain, and counts and ends them.

Accepting is bounded per loop turn, so that a storm of new connections does not starve those that are open. Running out
of file descriptors pauses the listener for a moment instead of spinning on a socket that stays readable for ever.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from l4proxy.access_log.logger import log_access
from l4proxy.access_log.record import of_refusal
from l4proxy.connection import Connection
from l4proxy.logging_setup import once_per
from l4proxy.matcher import PeekInfo
from l4proxy.peek import Peek
from l4proxy.poller import READ
from l4proxy.reason import CloseReason
from l4proxy.sockets import original_destination
from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter
from l4proxy.stream import Stream

if TYPE_CHECKING:
    from l4proxy.access_log.logger import AccessLogger
    from l4proxy.access_log.record import AccessRecord
    from l4proxy.chain import FilterChain
    from l4proxy.config.schema import Listener as ListenerConfig
    from l4proxy.filter import TlsInfo
    from l4proxy.matcher import Preamble
    from l4proxy.server import Server

__all__ = ["Listener", "ListenerStats"]

log = logging.getLogger("l4proxy.listener")
refusals = logging.getLogger("l4proxy.refusals")

PAUSE_WITHOUT_DESCRIPTORS = 0.5
"""Seconds for which nothing is accepted after descriptors ran out."""
REFUSALS_PAUSE = 10.0
"""Seconds between two lines of the log about one reason why connections are not taken."""


class ListenerStats(Stats, subsystem="listener", labels=("listener",)):
    """Downstream connections of one listener."""

    connections_total = counter("Connections accepted.")
    connections_active = gauge("Connections open now.")
    refused_total = labelled_counter(
        "Connections refused or ended before they had a filter chain, by reason.", label="reason"
    )
    closed_total = labelled_counter("Connections ended, by reason.", label="reason")
    received_bytes_total = counter("Bytes received from clients.")
    sent_bytes_total = counter("Bytes sent to clients.")
    connection_seconds = histogram("How long connections lasted.", buckets=SECONDS)
    accept_paused_total = counter("Times that accepting was paused because file descriptors or memory ran out.")


class Pending(NamedTuple):
    """A connection on its way to its chain; ``cancel()`` ends the wait and leaves the socket open."""

    sock: socket.socket
    info: PeekInfo
    cancel: Callable[[], object]


class Listener:
    """One entry of ``listeners``: its sockets and its chains. Made anew at each reload; sockets and statistics live
    on."""

    def __init__(
        self,
        config: ListenerConfig,
        sockets: list[socket.socket],
        chains: list[FilterChain],
        preambles: tuple[Preamble[Any], ...],
        access_loggers: tuple[AccessLogger[Any], ...],
        server: Server,
    ) -> None:
        self.config = config
        self.name = config.name
        self.sockets = sockets
        self.ports = tuple(dict.fromkeys(sock.getsockname()[1] for sock in sockets if sock.family != socket.AF_UNIX))
        """TCP ports, each once, in the order of the addresses."""
        self.chains = chains
        self.preambles = preambles
        self.access_loggers = access_loggers
        self.request_loggers = tuple(logger for logger in access_loggers if not logger.connections_only)
        self.connection_loggers = tuple(logger for logger in access_loggers if logger.connections_only)
        self.server = server
        self.loop = server.loop
        self.thread = threading.get_ident()
        self.poller = server.poller
        self.timers = server.timers
        self.clusters = server.clusters
        self.buffer_limit = int(config.buffer_limit)
        self.stats = server.stats.group(ListenerStats, listener=self.name)
        self.connections: dict[int, Connection] = {}
        self.pending: dict[int, Pending] = {}
        """Connections whose chain is not chosen, or whose TLS handshake is not done, by file descriptor."""
        self.retired = False
        self._accepting = False
        self._acceptors = [self._acceptor(sock) for sock in sockets]
        self._only_chain = chains[0] if len(chains) == 1 and not chains[0].matchers and not preambles else None

    # Accepting

    def start(self) -> None:
        self._accepting = True
        for sock, acceptor in zip(self.sockets, self._acceptors, strict=True):
            self.poller.register(sock.fileno(), READ, acceptor)

    def accept_waiting(self) -> None:
        """Accept everything that is in the sockets' queues: to close them would reset it."""
        for acceptor in self._acceptors:
            before = -1
            while self._accepting and self.stats.connections_total > before:
                before = self.stats.connections_total
                acceptor(READ)

    def retire(self) -> None:
        """Accept nothing more, for good. The sockets stay open: another generation may have taken them over."""
        self.retired = True
        self._pause()

    def _pause(self) -> None:
        if self._accepting:
            self._accepting = False
            for sock in self.sockets:
                self.poller.unregister(sock.fileno())

    def _acceptor(self, listening: socket.socket) -> Callable[[int], None]:
        accept, accepted, stats = listening.accept, self._accepted, self.stats
        turns = range(self.config.accepts_per_turn)
        bound = listening.getsockname()
        fixed = bound[:2] if isinstance(bound, tuple) and bound[0] not in ("0.0.0.0", "::") else None
        unix = ("", 0) if listening.family == socket.AF_UNIX else None

        def on_readable(_mask: int) -> None:
            for _ in turns:
                try:
                    sock, address = accept()
                except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                    return
                except OSError as error:
                    self._accept_failed(error)
                    return
                try:
                    sock.setblocking(False)
                    info = PeekInfo(unix or address[:2], unix or fixed or sock.getsockname()[:2])
                except OSError:  # the client has gone already
                    sock.close()
                    stats.refused_total.add("gone")
                    continue
                accepted(sock, info)

        return on_readable

    def _accept_failed(self, error: OSError) -> None:
        """Out of descriptors or memory: pause, for the socket stays readable and would be tried again at once."""
        self.stats.accept_paused_total += 1
        if times := once_per(REFUSALS_PAUSE, f"{self.name} accept"):
            text = "listener %s accepts nothing for %s s: %s (%d times)"
            log.warning(text, self.name, PAUSE_WITHOUT_DESCRIPTORS, error, times)
        if self._accepting:
            self._pause()
            self.timers.call_later(PAUSE_WITHOUT_DESCRIPTORS, self._accept_again)

    def _accept_again(self) -> None:
        if not self._accepting and not self.retired:
            self.start()

    def _accepted(self, sock: socket.socket, info: PeekInfo) -> None:
        stats = self.stats
        stats.connections_total += 1
        limit = self.config.max_connections
        if limit and len(self.connections) + len(self.pending) >= limit:
            self._refuse(sock, info, "listener_limit", f"listener {self.name} has its {limit} connections")
            return
        if not self.server.admit():
            limit = self.server.max_connections
            self._refuse(sock, info, "server_limit", f"the server has its {limit} connections")
            return
        stats.connections_active += 1
        if self.config.original_destination != "off":
            try:
                info.destination = original_destination(sock, self.config.original_destination)
            except OSError as error:
                self._give_up(sock, info, CloseReason("proxy", "accept", "not_redirected", message=str(error)))
                return
        if self._only_chain is not None:
            self._chosen(sock, info, self._only_chain)
            return
        peek = Peek(self, sock, info)
        self.pending[sock.fileno()] = Pending(sock, info, peek.cancel)
        peek.start()

    def chosen(self, sock: socket.socket, info: PeekInfo, chain: FilterChain) -> None:
        """The peek stage is over."""
        del self.pending[sock.fileno()]
        self._chosen(sock, info, chain)

    def not_chosen(self, sock: socket.socket, info: PeekInfo, why: str, message: str) -> None:
        """The peek stage ended without a chain."""
        del self.pending[sock.fileno()]
        self._give_up(sock, info, CloseReason(_who(why), "peek", why, flags=_flags(why), message=message))

    def _chosen(self, sock: socket.socket, info: PeekInfo, chain: FilterChain) -> None:
        if chain.tls is None:
            self._serve(Stream(sock, self.poller, self.buffer_limit), info, chain)
            return
        if chain.tls.full:
            self._give_up(sock, info, CloseReason("proxy", "tls_handshake", "tls_handshake_limit"))
            return
        fd = sock.fileno()

        def ready(stream: Stream, tls: TlsInfo, seconds: float) -> None:
            self.pending.pop(fd, None)
            info.server_name = tls.server_name
            self._serve(stream, info, chain, tls, seconds)

        def failed(why: str, message: str) -> None:
            self.pending.pop(fd, None)
            self._give_up(sock, info, CloseReason(_who(why), "tls_handshake", why, message=message))

        cancel = chain.tls.accept(sock, self.poller, self.timers, ready, failed, self.buffer_limit).cancel
        self.pending[fd] = Pending(sock, info, cancel)

    def _serve(
        self, client: Stream, info: PeekInfo, chain: FilterChain, tls: TlsInfo | None = None, seconds: float = 0.0
    ) -> None:
        try:
            connection = Connection(self, chain, client, info, tls, seconds)
        except Exception as error:
            log.exception("listener %s could not make the filters of a connection", self.name)
            client.close(reset=True)
            self._give_up(client.sock, info, CloseReason("filter", "accept", "filter_error", message=str(error)))
            return
        self.connections[connection.id] = connection
        connection.start()

    # Ending

    def connection_closed(self, connection: Connection, record: AccessRecord | None) -> None:
        """Called once by each connection, when all of it is released; ``record`` is for the access loggers."""
        del self.connections[connection.id]
        stats, reason = self.stats, connection.reason
        assert reason is not None
        self._fold(connection)
        stats.closed_total.add(reason.detail)
        stats.connection_seconds.record(time.monotonic() - connection.started)
        self._released()
        if record is not None:
            log_access(self.loggers_of(connection), record)

    def loggers_of(self, connection: Connection) -> tuple[AccessLogger[Any], ...]:
        """Who gets the record of a connection: of one whose requests were logged, only who asks for connections."""
        return self.connection_loggers if connection.logged else self.access_loggers

    def _give_up(self, sock: socket.socket, info: PeekInfo, reason: CloseReason) -> None:
        """End a connection that never got a chain, or whose handshake failed."""
        sock.close()
        self.stats.refused_total.add(reason.detail)
        if reason.who == "proxy":
            refusals.info("listener %s refused a connection from %s: %s", self.name, info.source[0], reason)
        self._released()
        if self.access_loggers:
            log_access(self.access_loggers, of_refusal(self.name, info, reason))

    def _refuse(self, sock: socket.socket, info: PeekInfo, why: str, message: str) -> None:
        """Over a limit: the connection was never admitted."""
        sock.close()
        self.stats.refused_total.add(why)
        if times := once_per(REFUSALS_PAUSE, f"{self.name} {why}"):
            refusals.warning("refused a connection from %s: %s (%d times)", info.source[0], message, times)
        if self.access_loggers:
            log_access(self.access_loggers, of_refusal(self.name, info, CloseReason("proxy", "accept", why)))

    def _released(self) -> None:
        self.stats.connections_active -= 1
        self.server.released(self)

    # Statistics, drain

    def collect(self) -> None:
        """Fold the bytes of open connections into the counters; called before statistics are read."""
        for connection in self.connections.values():
            self._fold(connection)

    def _fold(self, connection: Connection) -> None:
        """Count what has moved since the last time: nothing is counted per chunk, and several generations of a listener
        share its statistics."""
        client, (received, sent) = connection.client, connection.counted
        self.stats.received_bytes_total += client.received - received
        self.stats.sent_bytes_total += client.sent - sent
        connection.counted = (client.received, client.sent)

    def drain(self) -> None:
        """Ask the open connections to end soon."""
        for connection in list(self.connections.values()):
            connection.drain()

    def close_connections(self, detail: str) -> None:
        for pending in list(self.pending.values()):
            pending.cancel()
            self._give_up(pending.sock, pending.info, CloseReason("proxy", "peek", detail))
        self.pending.clear()
        for connection in list(self.connections.values()):
            connection.cut_off(detail)


def _who(why: str) -> str:
    return "client" if why in ("eof", "reset") else "proxy"


def _flags(why: str) -> tuple[str, ...]:
    return ("NR",) if why == "no_filter_chain" else ()
