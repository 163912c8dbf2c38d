"""Who is told when a socket can be read or written.

asyncio tells a transport of its bytes through a selector key, a handle, a context and a ready queue: about as much
Python as forwarding a small chunk takes. Our sockets need none of it, so a **poller** holds their callbacks in a
dictionary by file descriptor and calls them straight from one epoll wait. There are two, with the same interface:

- `PollerSelector` is the selector of the event loop that the command line makes. asyncio's own descriptors (its
  self-pipe, a plugin's sockets) and ours stand in the same epoll; ours are called inside `select()`, asyncio's are
  returned from it.
- `NestedPoller` is an epoll of its own, watched by whatever loop is running (any loop, uvloop included) as one
  descriptor. It costs one more system call per loop turn. A library user's loop, and a loop made by a plugin, get this
  one.

A callback gets the epoll event mask. It may register, change and unregister anything, itself included. What is left
of the events of a descriptor closed a moment ago is not told to whoever has its number by then. "Readable" is only a
hint all the same: read, and be ready for BlockingIOError.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import selectors
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = [
    "EDGE",
    "ERROR",
    "PEER_ENDED",
    "READ",
    "URGENT",
    "WRITE",
    "NestedPoller",
    "Poller",
    "PollerSelector",
    "new_event_loop",
    "poller_of",
]

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
EDGE = select.EPOLLET
PEER_ENDED = select.EPOLLRDHUP
URGENT = select.EPOLLPRI
ERROR = select.EPOLLERR | select.EPOLLHUP

log = logging.getLogger("l4proxy.poller")
Callback = Callable[[int], None]

MAX_EVENTS = 512
"""How many events one epoll wait hands out: bounds how long one loop turn can take."""
FLUSH_AFTER = 32
"""So many callbacks at most are called before what they deferred: bounds how long a small message can wait."""


class Poller:
    """Callbacks by file descriptor over one epoll. All methods must be called in the loop's thread."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.change = self.epoll.modify
        """``change(fd, mask)`` sets what a registered descriptor waits for; 0 leaves only errors and hang-ups."""
        self._callbacks: dict[int, Callback] = {}
        self._new: set[int] = set()
        """Descriptors registered since the last events came: what those say of such a number is about another file."""
        self._deferred: list[Callable[[], None]] = []

    def register(self, fd: int, mask: int, callback: Callback) -> None:
        self.epoll.register(fd, mask)
        self._callbacks[fd] = callback
        self._new.add(fd)

    def replace(self, fd: int, mask: int, callback: Callback) -> None:
        """Another callback for a registered descriptor."""
        self.epoll.modify(fd, mask)
        self._callbacks[fd] = callback

    def unregister(self, fd: int) -> None:
        """Before the descriptor is closed. Harmless when it is not registered."""
        if self._callbacks.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Instead of ``unregister``, where the descriptor is closed right after: closing takes it out of the epoll."""
        self._callbacks.pop(fd, None)

    def __len__(self) -> int:
        return len(self._callbacks)

    def defer(self, call: Callable[[], None]) -> None:
        """Call once, when this loop turn's callbacks have been called, or a good many of them: where the writes of many
        to one socket are joined."""
        self._deferred.append(call)

    def dispatch(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Call the callbacks of ``events``, then what they deferred; return the events that are not ours."""
        self._new.clear()
        if len(events) <= FLUSH_AFTER:
            return self._dispatch(events)
        others = []
        for at in range(0, len(events), FLUSH_AFTER):
            others += self._dispatch(events[at : at + FLUSH_AFTER])
        return others

    def _dispatch(self, events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        callbacks, new = self._callbacks, self._new
        others = []
        for fd, mask in events:
            if new and fd in new:
                continue
            callback = callbacks.get(fd)
            if callback is None:
                others.append((fd, mask))
                continue
            try:
                callback(mask)
            except (Exception, asyncio.CancelledError):
                log.exception("the callback of descriptor %d failed", fd)
        if self._deferred:
            self.run_deferred()
        return others

    def run_deferred(self) -> None:
        while self._deferred:
            batch, self._deferred = self._deferred, []
            for call in batch:
                try:
                    call()
                except (Exception, asyncio.CancelledError):
                    log.exception("a deferred call failed")

    def close(self) -> None:
        self.epoll.close()


class NestedPoller(Poller):
    """A poller inside a loop that is not ours."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        loop.add_reader(self.epoll.fileno(), self._turn)

    def _turn(self) -> None:
        self.dispatch(self.epoll.poll(0, MAX_EVENTS))

    def defer(self, call: Callable[[], None]) -> None:
        if not self._deferred:
            self._loop.call_soon(self.run_deferred)
        self._deferred.append(call)

    def close(self) -> None:
        self._loop.remove_reader(self.epoll.fileno())
        super().close()


class PollerSelector(selectors.BaseSelector):
    """The selector of our own loop: asyncio's descriptors beside the poller's, in one epoll."""

    def __init__(self) -> None:
        self.poller = Poller()
        self._epoll = self.poller.epoll
        self._keys = _Keys()
        self.interrupted = False
        """Set by the loop when something was scheduled: `select` must return to it."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = selectors.SelectorKey(fileobj, _fd(fileobj), events, data)
        if key.fd in self._keys.by_fd:
            raise KeyError(f"{fileobj!r} is already registered")
        self._epoll.register(key.fd, _mask(events))
        self._keys.by_fd[key.fd] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._keys.by_fd.pop(self._keys[fileobj].fd)
        with contextlib.suppress(OSError):  # a closed descriptor has left the epoll by itself
            self._epoll.unregister(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj]
        if events != key.events:
            self._epoll.modify(key.fd, _mask(events))
        key = self._keys.by_fd[key.fd] = selectors.SelectorKey(fileobj, key.fd, events, data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.poller._deferred:
            self.poller.run_deferred()
            timeout = 0
        deadline = 0.0 if timeout is None else time.monotonic() + timeout
        wait = -1.0 if timeout is None else max(timeout, 0)
        poll, dispatch = self._epoll.poll, self.poller.dispatch
        self.interrupted = False
        try:
            while True:
                events = poll(wait, MAX_EVENTS)
                others = dispatch(events)
                if others or self.interrupted or not events:
                    break
                if timeout is not None:
                    wait = deadline - time.monotonic()
                    if wait <= 0:  # the loop has a timer that is due, however busy our descriptors are
                        break
        except InterruptedError:
            return []
        ready = []
        for fd, mask in others:
            key = self._keys.by_fd.get(fd)
            if key is not None:
                wanted = (selectors.EVENT_READ if mask & ~WRITE else 0) | (selectors.EVENT_WRITE if mask & ~READ else 0)
                if wanted & key.events:
                    ready.append((key, wanted & key.events))
        return ready

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def close(self) -> None:
        self._keys.by_fd.clear()
        self.poller.close()


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """What is registered, by descriptor or by file object, the latter also when it was closed meanwhile."""

    def __init__(self) -> None:
        self.by_fd: dict[int, selectors.SelectorKey] = {}

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        try:
            return self.by_fd[_fd(fileobj)]
        except ValueError:
            for key in self.by_fd.values():
                if key.fileobj is fileobj:
                    return key
            raise

    def __len__(self) -> int:
        return len(self.by_fd)

    def __iter__(self) -> Iterator[int]:
        return iter(self.by_fd)


def _fd(fileobj: Any) -> int:
    fd: int = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if fd < 0:
        raise ValueError(f"{fileobj!r} is closed")
    return fd


def _mask(events: int) -> int:
    return (READ if events & selectors.EVENT_READ else 0) | (WRITE if events & selectors.EVENT_WRITE else 0)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop of ``l4proxy run``."""
    return _Loop(PollerSelector())


class _Loop(asyncio.SelectorEventLoop):
    """Tells its selector whenever something is scheduled, so that `select` may stay while nothing is."""

    def __init__(self, selector: PollerSelector) -> None:
        self._our_selector = selector
        self.l4proxy_poller = selector.poller
        super().__init__(selector)

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:  # type: ignore[override]
        self._our_selector.interrupted = True
        return super().call_soon(*args, **kwargs)

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self._our_selector.interrupted = True
        return super().call_at(*args, **kwargs)

    def stop(self) -> None:
        self._our_selector.interrupted = True
        super().stop()


def poller_of(loop: asyncio.AbstractEventLoop) -> Poller:
    """The poller of a loop: its selector's own, or a nested one that is made now, and closed by who asked for it."""
    poller: Poller | None = getattr(loop, "l4proxy_poller", None)
    return poller if poller is not None else NestedPoller(loop)
