"""A connection to a Redis server: how it is made, becomes somebody's, and is lost. Base of the shared and the dedicated
ones, which differ in what they carry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.connect import Attempt, ConnectRequest
from l4proxy.logging_setup import once_per
from l4proxy.plugins.redis.replies import LOST, TIMEOUT, UNREADABLE, of_upstream_error
from l4proxy.plugins.redis.stats import SEVERAL, Tally
from l4proxy.protocols.redis.reply import ReplyScanner
from l4proxy.protocols.redis.translate import Translator

if TYPE_CHECKING:
    from l4proxy.endpoint import Endpoint
    from l4proxy.errors import UpstreamError
    from l4proxy.plugins.redis.pool import Pool
    from l4proxy.stream import Stream
    from l4proxy.timers import Timer

__all__ = ["KEPT", "LAST_PIECE", "WORTH_MOVING", "ServerConnection", "log"]

log = logging.getLogger("l4proxy.redis")

LOG_PAUSE = 10.0
"""Seconds between two lines of the log about one problem of an endpoint."""

CONNECT_ATTEMPTS = 3
"""Endpoints that are tried, where any will do."""
LOOKS = 4
"""So often per `op_timeout` it is looked whether there was a reply."""
WORTH_MOVING = 256 * 1024
"""Bytes of a string, still to come, that are worth having the kernel move them."""
LAST_PIECE = 16 * 1024
"""So many of them are read all the same, so that the end of the reply is seen as ever."""
KEPT = 16 * 1024
"""Bytes of a reply that is not whole which are kept until it is; of a longer one, what has come is passed on."""


class ServerConnection:
    """One connection, of a pool's endpoint and identity. Subclasses say what happens ``_when_ready``, with what is
    ``_read`` then, and ``_when_lost``."""

    __slots__ = ("_attempt", "_blamed", "_handshakes", "_limit", "_quiet", "_received", "_replies",
                 "_scanner", "_steps", "closed", "endpoint", "failure", "identity", "pool", "protocol",
                 "ready", "refused", "stream", "tallies", "translator")  # fmt: skip

    def __init__(self, pool: Pool, endpoint: Endpoint | None = None) -> None:
        self.pool = pool
        self.endpoint = endpoint or pool.endpoint
        """None until one is chosen, where the pool is of a whole cluster."""
        self.identity = pool.identity
        self.protocol = pool.server_protocol
        """What the server speaks: 2, also where 3 was asked for, when it knows no other."""
        self.translator: Translator | None = None
        """Set where clients speak another version than the server."""
        self.ready = False
        """Connected, and all that makes it of its identity was answered."""
        self.closed = False
        self.failure = LOST
        """Why, as a reply."""
        self.refused = False
        """That is the server's own: it has not made it of its identity."""
        self._scanner = ReplyScanner(pool.limits)
        self._steps = 0
        """Answers of the handshake that are missing."""
        self._handshakes = 0
        self._received = b""
        self._replies = self._blamed = 0
        """Replies, and how many there were when the endpoint failed last. Whoever compares them at intervals knows if
        there are any."""
        self.tallies: dict[str, Tally] = {}
        """By command: what the statistics do not have yet."""
        self._quiet = 0
        self._limit: Timer | None = None
        self._attempt: Attempt | None = None
        self.stream: Stream | None = None

    def connect(self) -> None:
        """Begin. ``_when_lost`` may be called before this returns."""
        attempts = CONNECT_ATTEMPTS if self.endpoint is None else 1
        request = ConnectRequest(endpoint=self.endpoint, attempts=attempts, reports=True)
        self._attempt = Attempt(self.pool.cluster, request, self._connected, self._connect_failed)
        self._attempt.start()

    @property
    def endpoint_name(self) -> str:
        return self.endpoint.name if self.endpoint is not None else ""

    def _connected(self, stream: Stream, endpoint: Endpoint) -> None:
        self._attempt = None
        self.endpoint = endpoint
        self.stream = stream
        stream.on_data = self._handshake
        stream.on_eof = self._server_ended
        stream.on_lost = self._socket_lost
        if self.pool.op_timeout:
            self._watch()
        stream.start()
        self._begin_handshake()

    def _connect_failed(self, error: UpstreamError) -> None:
        self._attempt = None
        self.lose(of_upstream_error(error))

    # The handshake

    def _begin_handshake(self) -> None:
        commands = self.identity._replace(protocol=self.protocol).handshake()
        self._steps = len(commands)
        self._handshakes += 1
        if not commands:
            self._become_ready()
        elif self.stream is not None:
            self.stream.write(b"".join(commands))

    def _handshake(self, data: bytes) -> None:
        """Answers to the handshake. Nothing follows them, as nothing else was asked."""
        self._received += data
        try:
            end = self._scanner.end(self._received, 0, self._steps)
        except RemoteProtocolError as error:
            self._give_up(UNREADABLE, "does not speak Redis", str(error))
            return
        if end < 0:
            return
        self._replies += 1
        self._received = b""
        refusals, self._scanner.errors = self._scanner.errors, []
        if not refusals:
            self._become_ready()
        elif self._handshakes == 1 and self.protocol == 3 and _knows_no_hello(refusals[0]):
            self.protocol = 2
            self._begin_handshake()
        else:
            self.refused = True
            self.lose(b"-%b\r\n" % refusals[0])

    def _become_ready(self) -> None:
        self.ready = True
        self.pool.server_protocol = self.protocol
        if self.protocol != self.identity.protocol:
            self.translator = Translator(self.identity.protocol)
        assert self.stream is not None
        self.stream.on_data = self._read
        self._when_ready()

    # The end

    def _watch(self) -> None:
        """A server that owes replies and gives none for `op_timeout` is given up. Nothing is timed per command."""
        replies, timeout = self._replies, self.pool.op_timeout

        def look() -> None:
            self._quiet = self._quiet + 1 if self._owes() and self._replies == replies else 0
            if self._quiet == LOOKS:
                self._give_up(TIMEOUT, "gives no reply", f"none within {timeout:g} s (op_timeout)")
            else:
                self._watch()

        self._limit = self.pool.timers.call_later(timeout / LOOKS, look)

    def tally(self, command: str) -> Tally:
        """Where a command is counted."""
        tally = self.tallies.get(command)
        if tally is None:
            tally = self.tallies[command] = Tally(self.pool.command_stats(command) if command is not SEVERAL else None)
        return tally

    def blame(self, count: int) -> None:
        """So many commands in a row have failed, and that was the endpoint's doing: tell outlier detection. That one
        went well is not said each time, but found out here."""
        if self.endpoint is None:
            return
        if self._replies - self._blamed > count:
            self.endpoint.report(ok=True)
        self._blamed = self._replies
        for _ in range(min(count, self.endpoint.failure_limit)):
            self.endpoint.report(ok=False)

    @property
    def waiting(self) -> int:
        """Commands without a reply."""
        raise NotImplementedError

    def _owes(self) -> bool:
        """Whether the server is expected to reply."""
        return not self.ready

    def _server_ended(self) -> None:
        self.lose(LOST)

    def _socket_lost(self, _error: OSError) -> None:
        self.lose(LOST)

    def _give_up(self, error: bytes, problem: str, detail: str) -> None:
        """Lose it for what its server does, and say so: where that goes on, only now and then."""
        if times := once_per(LOG_PAUSE, f"{self.endpoint_name} {problem}"):
            log.warning("endpoint %s %s: %s (%d times)", self.endpoint_name, problem, detail, times)
        self.lose(error)

    def lose(self, error: bytes) -> None:
        """It cannot be used any more: whoever waits for a reply gets ``error`` instead."""
        if not self.closed:
            self.failure = error
            self.close()
            self._when_lost(error)

    def close(self) -> None:
        """Close the socket, if there is one. Nobody is told."""
        self.closed = True
        self.pool.forget(self)
        if self._limit is not None:
            self._limit.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        if self.stream is not None:
            self.stream.close()

    # What subclasses say

    def _when_ready(self) -> None:
        raise NotImplementedError

    def _read(self, data: bytes) -> None:
        raise NotImplementedError

    def _when_lost(self, error: bytes) -> None:
        raise NotImplementedError


def _knows_no_hello(error: bytes) -> bool:
    return error.startswith((b"NOPROTO", b"ERR unknown command"))
