"""One direction of a connection: from a source stream, through the filters that read it, to a sink stream.

A connection has two paths, and each is the same machine: the client's passes the filters first to last, the upstream's
last to first. A path knows only the filters that take part in it, as **nodes** in the order of flow; positions count in
that order, so that "after" means "further along" in both.

The hot path is ``run``: a tuple of bound methods, nothing else. Whatever makes things harder (a filter that paused, an
observer, an upstream that is not there yet) changes what stands in that tuple, or which function the source calls, so
that a chunk tests for none of it. A path that nobody reads is wired from the source straight into the sink's ``write``,
and large transfers on it are moved by the kernel.

Why it is hard: a filter may pause, resume, inject, detach itself or close the connection from inside any callback, also
from inside a delivery of what had waited for it. Three rules keep the order right. A node that holds chunks goes on
holding until it is empty, so that what arrives during a delivery queues behind it. The tuple and the list of nodes are
replaced, never changed, so that a chunk on its way finishes the walk it began. End of stream waits in the same queues.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from l4proxy.stream import READ_SIZE_MAX

if TYPE_CHECKING:
    from l4proxy.filter import Filter, Side
    from l4proxy.passed import PassedChunks
    from l4proxy.stream import Stream

__all__ = ["Node", "Path", "PathOwner"]

PAUSED = 1
"""Why a source is not read: something waits, or has to wait, in front of a filter or for the upstream."""
FULL = 2
"""Why a source is not read: the sink's buffer is above its high watermark."""

Stage = Callable[[bytes], bytes | None]
GATE = 1 << 30
"""Position behind all filters, where early data waits for the sink."""
SKIP_LEAST = 64 * 1024
"""Fewer bytes cost less when they are read than when the kernel is told to move them."""
INJECT_LIMIT = 16 * 1024 * 1024
"""Bytes that filters may have sent, beyond what they were told the sink takes, before one more ends the connection."""


class PathOwner(Protocol):
    """What a path asks of its connection."""

    def filter_failed(self, callback: Callable[..., Any], error: Exception, *, lost: bool = False) -> bool:
        """A filter's callback raised, or returned what it may not. True: it is out of the chain, the chunk goes on.
        False: the connection is closing; always so when the chunk is ``lost``."""

    def path_writable(self, path: Path, writable: bool) -> None:
        """The sink's buffer went above its high watermark, or is at half of it again."""

    def path_ended(self, path: Path, sink: Stream) -> None:
        """End of stream has reached the sink, behind all bytes."""

    def overflow(self, message: str) -> None:
        """More waits than the limits allow."""


class Node:
    """One filter's part in one path. ``chunks`` is None unless something waits, or may wait, in front of it."""

    __slots__ = ("chunks", "draining", "eof", "observer", "on_eof", "passed", "paused", "position", "size", "stage")

    def __init__(
        self,
        position: int,
        stage: Stage | None = None,
        on_eof: Callable[[], object] | None = None,
        observer: bool = False,
        passed: tuple[PassedChunks, Filter[Any], Side] | None = None,
    ) -> None:
        self.position = position
        self.stage = stage if passed is None else partial(passed[0].note, *passed[1:])
        self.on_eof = on_eof
        self.observer = observer
        self.passed = passed
        """Of an observer that is shown what has passed together: where that is noted, of whom and of which side."""
        self.chunks: deque[bytes] | None = None
        self.size = 0
        self.eof = False
        self.paused = False
        self.draining = False

    def hold(self) -> None:
        self.paused = True
        if self.chunks is None:
            self.chunks = deque()


class Path:
    """One direction. ``nodes`` are in the order of flow; ``hold_limit`` bytes may wait before the source is no longer
    read."""

    __slots__ = ("_deliver", "_nodes", "_owner", "_seen", "_tuple", "hold_limit", "sink", "source")

    def __init__(self, owner: PathOwner, nodes: tuple[Node, ...], hold_limit: int, sink: Stream | None = None) -> None:
        self._owner = owner
        self._nodes = nodes
        self._seen: list[tuple[Stage, bytes]] | None = [] if any(node.observer for node in nodes) else None
        """What observers are to be shown once it is written on; None where there are none."""
        self._tuple: tuple[Stage, ...] = ()
        self.hold_limit = hold_limit
        self.source: Stream | None = None
        self.sink: Stream | None = None
        self._deliver: Callable[[bytes], object] = _drop
        if sink is not None:
            self._use_sink(sink)
        else:
            gate = Node(GATE)
            gate.hold()
            self._nodes = (*nodes, gate)

    @property
    def is_bare(self) -> bool:
        """No filter reads it, and nothing waits: what is sent goes straight to the sink."""
        return not self._nodes

    # Wiring

    def connect_source(self, source: Stream) -> None:
        self.source = source
        source.on_eof = self.end
        self._rewire()

    def connect_sink(self, sink: Stream) -> None:
        """From now on bytes are written to ``sink``, those first that waited for it."""
        self._use_sink(sink)
        gate = self._nodes[-1]
        if gate.chunks or gate.eof:
            self.resume(GATE)
        else:
            self._nodes = self._nodes[:-1]
            self._rewire()

    def _use_sink(self, sink: Stream) -> None:
        self.sink = sink
        self._deliver = sink.write
        sink.on_writable = self._sink_writable

    def _rewire(self) -> None:
        """Choose what a chunk from the source meets. Called whenever the nodes or what they hold change."""
        source = self.source
        if source is None:
            return
        walk: list[Stage] = []
        for node in self._nodes:
            if node.chunks is not None:
                walk.append(self._waiter(node))
                break
            if node.stage is not None:
                walk.append(self._capturer(node.stage) if node.observer else node.stage)
        self._tuple = tuple(walk)
        source.noting = None
        if not walk:
            source.on_data = self._deliver
        elif (observer := self._only_observer()) is not None:
            source.on_data = self._shower(observer) if observer.passed is None else self._deliver
            source.noting = observer.passed
        else:
            source.on_data = self.run if self._seen is None else self._run_and_show
        source.splice_to(None if walk else self.sink)

    def _only_observer(self) -> Node | None:
        """The observer that is alone in this path, with nothing that waits."""
        if len(self._nodes) == 1 and self._nodes[0].observer and self._nodes[0].chunks is None:
            return self._nodes[0]
        return None

    def _waiter(self, node: Node) -> Stage:
        def wait(data: bytes) -> None:
            self._wait(node, data)

        return wait

    def _capturer(self, observer: Stage) -> Stage:
        def capture(data: bytes) -> bytes:
            self._see(observer, data)
            return data

        return capture

    def _shower(self, node: Node) -> Callable[[bytes], None]:
        """What a chunk meets that only one observer looks at: the usual thing, and so in as few steps as can be."""
        assert node.stage is not None
        deliver, observe, owner = self._deliver, node.stage, self._owner

        def deliver_and_show(data: bytes) -> None:
            deliver(data)
            try:
                observe(data)
            except Exception as error:
                owner.filter_failed(observe, error)

        return deliver_and_show

    def cut(self) -> None:
        """The connection is closing: no filter hears of anything that still arrives, or waits."""
        for node in self._nodes:
            if node.chunks:
                node.chunks.clear()
        self._nodes = self._tuple = ()
        if self.source is not None:
            self.source.on_data = self.source.on_eof = _drop
            self.source.noting = None
            self.source.splice_to(None)

    def _index(self, position: int) -> int:
        """Index of the first node at or after a position."""
        return next((i for i, node in enumerate(self._nodes) if node.position >= position), len(self._nodes))

    def remove(self, position: int) -> None:
        """Take a filter out of the path. What waits in front of it is delivered first."""
        index = self._index(position)
        if index == len(self._nodes) or self._nodes[index].position != position:
            return
        node = self._nodes[index]
        node.stage = node.on_eof = None
        if node.chunks is None:
            self._nodes = (*self._nodes[:index], *self._nodes[index + 1 :])
            self._rewire()
        else:
            self.resume(position)

    # Bytes

    def run(self, data: bytes) -> None:
        """A chunk from the source. The hot path."""
        stages = self._tuple
        passed: bytes | None = data
        try:
            for stage in stages:
                passed = stage(data)
                if not passed:
                    return
                data = passed
        except Exception as error:
            at = stages.index(stage)
            if self._is_bytes(stages[:at], data) and self._owner.filter_failed(stage, error):
                self._run_rest(stages[at + 1 :], data)
            return
        try:
            self._deliver(data)
        except TypeError:
            if self._is_bytes(stages, data):
                raise

    def _is_bytes(self, stages: tuple[Stage, ...], data: object) -> bool:
        """Whether what came out of ``stages`` can be sent. Only asked when something has failed; then the filter is
        named that returned it, for the one that raised has no part in it."""
        if _sendable(data):
            return True
        stage = next(stage for stage in reversed(stages) if hasattr(stage, "__self__"))
        self._owner.filter_failed(stage, _not_bytes(stage, data), lost=True)
        return False

    def _run_rest(self, stages: tuple[Stage, ...], data: bytes | None) -> None:
        for stage in stages:
            data = self._call(stage, data) if data else None
        if data:
            self._deliver(data)

    def _run_and_show(self, data: bytes) -> None:
        self.run(data)
        self._show()

    def _see(self, observer: Stage, data: bytes) -> None:
        assert self._seen is not None
        self._seen.append((observer, data))

    def _show(self) -> None:
        """Give the observers what has been written on."""
        while self._seen:
            observer, data = self._seen.pop(0)
            try:
                observer(data)
            except Exception as error:
                self._owner.filter_failed(observer, error)

    def _call(self, stage: Stage, data: bytes) -> bytes | None:
        try:
            passed = stage(data)
        except Exception as error:
            return data if self._owner.filter_failed(stage, error) else None
        if passed and not _sendable(passed):
            self._owner.filter_failed(stage, _not_bytes(stage, passed), lost=True)
            return None
        return passed

    def inject(self, position: int, data: bytes) -> None:
        """Send ``data`` on from the filter at ``position``: only those further along see it."""
        if not self._nodes and type(data) is bytes and data and not self.sink.blocked:  # type: ignore[union-attr]
            self._deliver(data)  # nobody is further along, and the sink is there
            return
        if not _sendable(data):
            raise TypeError(f"only bytes can be sent, not {type(data).__name__}")
        sink = self.sink
        if sink is not None and sink.blocked and sink.buffered > INJECT_LIMIT:
            self._owner.overflow(f"{sink.buffered} bytes wait for a peer that does not read, and a filter sends more")
        elif data:
            self._pass(self._index(position + 1), data)
            self._show()

    def _pass(self, index: int, data: bytes) -> None:
        """Walk the nodes from ``index`` on."""
        passed: bytes | None = data
        for node in self._nodes[index:]:
            if node.chunks is not None:
                self._wait(node, data)
                return
            if node.stage is None:
                continue
            if node.observer:
                self._see(node.stage, data)
                continue
            passed = self._call(node.stage, data)
            if not passed:
                return
            data = passed
        self._deliver(data)

    def skip(self, position: int, size: int) -> bool:
        """The observer at ``position`` has no need of the next ``size`` bytes of the source. Return whether the kernel
        moves them now, without showing them: where they are many, and nobody else reads them."""
        node, source, sink = self._only_observer(), self.source, self.sink
        if node is None or node.position != position or source is None or sink is None:
            return False
        if size < SKIP_LEAST or source.moving is not None:
            return False
        return source.splice_next(sink, size) is not None

    # Waiting

    def _wait(self, node: Node, data: bytes) -> None:
        assert node.chunks is not None
        node.chunks.append(data)
        node.size += len(data)
        if node.size > self.hold_limit:
            if node.size > self.hold_limit + READ_SIZE_MAX:
                self._owner.overflow("too much waits in front of a paused filter")
            elif self.source is not None:
                self.source.hold_reading(PAUSED)

    def pause(self, position: int) -> None:
        """From the next chunk on, what flows here waits in front of ``position``, and the source is not read."""
        index = self._index(position)
        if index == len(self._nodes) or self._nodes[index].position != position:
            self._nodes = (*self._nodes[:index], Node(position), *self._nodes[index:])
        self._nodes[index].hold()
        self._rewire()
        if self.source is not None:
            self.source.hold_reading(PAUSED)

    def resume(self, position: int) -> None:
        index = self._index(position)
        if index == len(self._nodes) or self._nodes[index].position != position:
            return
        node = self._nodes[index]
        node.paused = False
        if node.chunks is not None and not node.draining:
            self._drain(node)

    def _drain(self, node: Node) -> None:
        node.draining = True
        while node.chunks and not node.paused:
            data: bytes | None = node.chunks.popleft()
            assert data is not None
            node.size -= len(data)
            if node.stage is not None:
                if node.observer:
                    self._see(node.stage, data)
                else:
                    data = self._call(node.stage, data)
            if data:
                self._pass(self._index(node.position + 1), data)
            self._show()
        node.draining = False
        if node.paused or node not in self._nodes:  # paused again, or the connection is closing
            return
        node.chunks = None
        if node.stage is None and node.on_eof is None:
            self._nodes = tuple(other for other in self._nodes if other is not node)
        self._rewire()
        if node.eof:
            node.eof = False
            self._end_from(node.position)
        if self.source is not None and not any(self._stops_reading(other) for other in self._nodes):
            self.source.release_reading(PAUSED)

    def waiting(self) -> list[tuple[int, int, bool]]:
        """Where chunks wait: position, bytes, whether it is paused. For who explains a connection."""
        return [(node.position, node.size, node.paused) for node in self._nodes if node.chunks is not None]

    def _stops_reading(self, node: Node) -> bool:
        return node.size > self.hold_limit if node.position == GATE else node.paused

    def _sink_writable(self, writable: bool) -> None:
        if self.source is not None:
            if writable:
                self.source.release_reading(FULL)
            else:
                self.source.hold_reading(FULL)
        self._owner.path_writable(self, writable)

    # End of stream

    def end(self) -> None:
        """The source has sent its last byte."""
        self._end_from(0)

    def end_behind(self, position: int) -> None:
        """The filter at ``position`` has sent its last byte: what stands in for the end of a source."""
        self._end_from(position + 1)

    def _end_from(self, position: int) -> None:
        for node in self._nodes[self._index(position) :] if position else self._nodes:
            if node.chunks is not None:
                node.eof = True
                return
            on_eof, node.on_eof = node.on_eof, None
            if on_eof is not None:
                if node.passed is not None:
                    node.passed[0].show()
                try:
                    on_eof()
                except Exception as error:
                    if not self._owner.filter_failed(on_eof, error):
                        return
        if self.sink is not None:
            self._owner.path_ended(self, self.sink)


def _sendable(data: object) -> bool:
    return isinstance(data, bytes | bytearray | memoryview)


def _not_bytes(stage: Stage, data: object) -> TypeError:
    return TypeError(f"{stage.__name__} returned {type(data).__name__}, not bytes")


def _drop(*_: object) -> None:
    """Where bytes and ends go that nobody is to hear of."""
