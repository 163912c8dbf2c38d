"""Nodes of a Redis Cluster under other addresses: what servers say of each other, changed on its way to a client.

Addresses stand in ``MOVED`` and ``ASK``, and in the answers to ``CLUSTER SLOTS``, ``SHARDS``, ``NODES`` and
``REPLICAS``. An answer is known by what was asked before and by its form, not by its place in the order: with messages
among the replies, and replies that clients do without, that would not be certain. All else passes as the very bytes,
and as it comes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.protocols.redis.reply import ReplyScanner
from l4proxy.protocols.redis.topology import fields_of, host_of, redirection, text_of
from l4proxy.protocols.redis.values import Map, Value, Verbatim, decode, encode

__all__ = ["Place", "Readdresser"]

Place: TypeAlias = "Callable[[str, int], tuple[str, int] | None]"
"""Where clients find the node at a host and port; the host is empty where that is the one who says so. None: nowhere
else, they are told what the node has said."""

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of an answer that is held until it is whole; a longer one passes unchanged."""
MAX_ERROR = 64 * 1024
TAIL = 64
"""Bytes of what a client has sent that are looked at again, because a question may have come in two pieces."""
_question = re.compile(
    rb"(?:\r\ncluster\r\n\$\d+\r\n|(?:^|\n) *cluster +)(?:slots|shards|nodes|replicas|slaves)\b", re.IGNORECASE
).finditer
_node_line = re.compile(rb"([0-9a-f]{40} )([^ ]*):(\d{1,5})(@\d{1,5})?([^ ]*)( [a-z,?!-]+ .*)", re.DOTALL).fullmatch
_has_resp3 = re.compile(rb"(?:^|\r\n)[%~_,#(]").search
_NOT_A_CLUSTER = b"-ERR This instance has cluster support disabled"


class Readdresser:
    """Both directions of one connection."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._scanner = ReplyScanner(RedisLimits())
        self._sent = b""
        self._asked = 0
        """Answers with addresses that are still to come."""
        self._rest = b""
        self._passed = False
        """A part of the reply under way was passed on: it is none of those."""
        self._lost = False
        """The server has said what cannot be read: nothing is changed any more."""

    def client_data(self, data: bytes) -> None:
        """Look for questions."""
        seen = self._sent + data
        self._asked += sum(found.end() > len(self._sent) for found in _question(seen))
        self._sent = seen[-TAIL:]

    def server_data(self, data: bytes) -> bytes:
        """What the client is to get now."""
        if self._lost:
            return data
        chunk = self._rest + data
        passed: list[bytes] = []
        start = begin = 0
        try:
            while start < len(chunk) and (end := self._scanner.end(chunk, start)) >= 0:
                changed = None if self._passed else self._changed(chunk, start, end)
                self._passed = False
                if changed is not None:
                    passed += (chunk[begin:start], changed)
                    begin = end
                start = end
        except RemoteProtocolError:
            self._lost = True
            start = len(chunk)
        self._scanner.errors.clear()
        start += self._part(chunk, start)
        passed.append(chunk[begin:start])
        self._rest = chunk[start:]
        return b"".join(passed)

    def _part(self, chunk: bytes, start: int) -> int:
        """So many bytes of a reply that is not whole may be passed on."""
        left = len(chunk) - start
        kept = MAX_ERROR if chunk[start : start + 1] in (b"-", b"") else MAX_ANSWER if self._asked else 0
        if not left or (left <= kept and not self._passed):
            return 0
        settled = min(self._scanner.settled, left)
        if settled:
            self._scanner.passed(settled)
            self._passed = True
        return settled

    def _changed(self, chunk: bytes, start: int, end: int) -> bytes | None:
        """A reply with other addresses; None: it stays as it is."""
        kind = chunk[start : start + 1]
        if kind == b"-":
            return self._redirection(chunk[start:end])
        if not self._asked or kind not in (b"*", b"$", b"=", b"%"):
            return None
        reply = chunk[start:end]
        try:
            value = decode(reply)[0]
            changed = self._lines(value) if isinstance(value, bytes) else self._list(value)
        except (RemoteProtocolError, TypeError, ValueError, KeyError, IndexError):
            return None  # it is the answer to something else
        if changed is None:
            return None
        self._asked -= 1
        return encode(changed, 3 if _has_resp3(reply) or kind == b"=" else 2)

    def _redirection(self, reply: bytes) -> bytes | None:
        told = redirection(reply)
        if told is None:
            if self._asked and reply.startswith(_NOT_A_CLUSTER):
                self._asked -= 1
            return None
        host, port = self._found(told.host, told.port)
        return b"-%b %d %b:%d\r\n" % (b"ASK" if told.asking else b"MOVED", told.slot, host, port)

    def _found(self, host: str, port: int) -> tuple[bytes, int]:
        found = self._place(host_of(host.encode()), port)
        return (host.encode(), port) if found is None else (found[0].encode(), found[1])

    def _list(self, value: Value) -> Value:
        """``SLOTS``, ``SHARDS`` or ``REPLICAS``."""
        if not isinstance(value, list) or not value:
            return None
        first = value[0]
        if isinstance(first, bytes):
            return [self._line(line) for line in value]
        if isinstance(first, list) and isinstance(first[0], int):
            return [[int(begin), int(end), *map(self._of_slots, nodes)] for begin, end, *nodes in value]
        return [_with(shard, nodes=[self._of_shards(node) for node in fields_of(shard)["nodes"]]) for shard in value]

    def _of_slots(self, node: Value) -> Value:
        """A host, a port, an id, and what else there is to say of it: that has other addresses."""
        host, port, id, *more = node
        told = fields_of(more[0]) if more else {}
        found = self._found(host_of(host) or text_of(told.get("ip")), int(port))
        if len(id) != 40:
            raise ValueError("no id of a node")
        return [*found, id, *(type(one)() for one in more)]

    def _of_shards(self, node: Value) -> Value:
        told = fields_of(node)
        name = "port" if told.get("port") else "tls-port"
        host, port = self._found(host_of(told.get("endpoint")) or text_of(told.get("ip")), int(told[name]))
        new: dict[str, Value] = {"endpoint": host, "ip": host, "hostname": host, name: port}
        return _with(node, **{key: one for key, one in new.items() if key in told})

    def _lines(self, text: bytes) -> Value:
        """``NODES``."""
        lines = text.split(b"\n")
        if len(lines) < 2 or lines[-1]:
            return None
        changed = b"\n".join([*map(self._line, lines[:-1]), b""])
        return Verbatim(changed, text.format) if isinstance(text, Verbatim) else changed

    def _line(self, line: bytes) -> bytes:
        """``id host:port@bus,name flags ...``. Raises ValueError for what is none."""
        found = _node_line(line)
        if found is None:
            raise ValueError("not a line of CLUSTER NODES")
        id, host, port, bus, _name, rest = found.groups()
        place = self._found(host.decode("latin-1"), int(port)) if int(port) else (host, 0)
        return b"%b%b:%d%b%b" % (id, *place, bus or b"", rest)


def _pairs(value: Value) -> list[tuple[Value, Value]]:
    if isinstance(value, Map):
        return list(value)
    if not isinstance(value, list) or len(value) % 2:
        raise ValueError("no map")
    return list(zip(value[::2], value[1::2], strict=True))


def _with(value: Value, **new: Value) -> Value:
    """The same map with other values."""
    pairs = [(name, new.get(text_of(name), one)) for name, one in _pairs(value)]
    return Map(pairs) if isinstance(value, Map) else [one for pair in pairs for one in pair]
