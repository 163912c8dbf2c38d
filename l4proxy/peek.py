"""The peek stage: look at a connection's first bytes without taking them, until its filter chain is known.

The bytes stay in the kernel (``MSG_PEEK``), so whoever reads the socket next, a TLS handshake or a splice, gets them
exactly as they came. The descriptor is watched edge-triggered meanwhile: bytes that were peeked at and left would keep
a level-triggered one ready for ever. One timer and one limit in bytes bound it all.
"""

from __future__ import annotations

import logging
import socket
from enum import Enum
from typing import TYPE_CHECKING

from l4proxy.codec import RemoteProtocolError
from l4proxy.poller import EDGE, PEER_ENDED, READ

if TYPE_CHECKING:
    from l4proxy.chain import FilterChain
    from l4proxy.listener import Listener
    from l4proxy.matcher import PeekInfo
    from l4proxy.timers import Timer

__all__ = ["Peek", "choose_chain"]

log = logging.getLogger("l4proxy.peek")


class Undecided(Enum):
    UNDECIDED = "more bytes may tell"


UNDECIDED = Undecided.UNDECIDED


def choose_chain(
    chains: list[FilterChain], peek: bytes, info: PeekInfo, *, final: bool
) -> FilterChain | Undecided | None:
    """The first chain whose matchers all say yes; None when no chain can be had; ``UNDECIDED`` while more bytes may
    tell.

    ``final``: there will be no more bytes, so what is undecided is no.
    """
    for chain in chains:
        verdict: bool | None = True
        for matcher in chain.matchers:
            verdict = matcher.match(peek, info)
            if not verdict:
                break
        if verdict:
            return chain
        if verdict is None and not final:
            return UNDECIDED
    return None


class Peek:
    """One connection on its way to a chain. The listener hears ``chosen`` or ``not_chosen`` once, possibly from inside
    ``start``; after ``cancel`` it hears nothing."""

    __slots__ = ("_listener", "_preambles", "_registered", "_timer", "info", "sock")

    def __init__(self, listener: Listener, sock: socket.socket, info: PeekInfo) -> None:
        self._listener = listener
        self._preambles = listener.preambles
        self._registered = False
        self._timer: Timer | None = None
        self.sock = sock
        self.info = info

    def start(self) -> None:
        if not self._decide(b"", final=False):
            listener = self._listener
            self._timer = listener.timers.call_later(listener.config.peek_timeout, self._timed_out)
            self._registered = True
            listener.poller.register(self.sock.fileno(), READ | EDGE | PEER_ENDED, self._on_event)

    def _on_event(self, mask: int) -> None:
        try:
            data = self.sock.recv(self._listener.config.peek_limit, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._refuse("reset", str(error))
            return
        if not data:
            self._refuse("eof", "the client closed before it sent anything")
        else:
            self._decide(data, final=len(data) >= self._listener.config.peek_limit or bool(mask & PEER_ENDED))

    def _decide(self, data: bytes, *, final: bool) -> bool:
        """Try with what has arrived. True: it is over."""
        try:
            while self._preambles:
                result = self._preambles[0].read(data, self.info)
                if result is None:
                    if final:
                        self._refuse(
                            "preamble_incomplete", f"no whole {self._preambles[0].name} header in {len(data)} bytes"
                        )
                    return final
                data = self._take(result.consumed, data)
                self._preambles = self._preambles[1:]
                self.info.source = result.client or self.info.source
                self.info.destination = result.destination or self.info.destination
                self.info.tlvs.update(result.tlvs)
            chain = choose_chain(self._listener.chains, data, self.info, final=final)
        except RemoteProtocolError as error:
            self._refuse(error.code, str(error))
            return True
        except Exception as error:
            log.exception("listener %s could not choose a filter chain", self._listener.name)
            self._refuse("matcher_error", repr(error))
            return True
        if chain is UNDECIDED:
            return False
        if chain is None:
            self._refuse("no_filter_chain", "no filter chain matches")
        else:
            self.cancel()
            self._listener.chosen(self.sock, self.info, chain)
        return True

    def _take(self, size: int, data: bytes) -> bytes:
        """Take a preamble off the socket; what is behind it stays."""
        if size > len(data):
            raise ValueError(f"{self._preambles[0].name} takes {size} bytes of {len(data)}")
        left = size
        while left:
            left -= len(self.sock.recv(left))
        return data[size:]

    def _timed_out(self) -> None:
        if self._preambles or self._listener.config.peek_timeout_action == "close":
            self._refuse("peek_timeout", "the client did not send enough to choose a filter chain in time")
            return
        try:
            data = self.sock.recv(self._listener.config.peek_limit, socket.MSG_PEEK)
        except OSError:
            data = b""
        self._decide(data, final=True)

    def _refuse(self, why: str, message: str) -> None:
        self.cancel()
        self._listener.not_chosen(self.sock, self.info, why, message)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._registered:
            self._registered = False
            self._listener.poller.unregister(self.sock.fileno())
