"""``CLUSTER``, as clients of a proxy in front of a Redis Cluster see it: the proxy is its only node and has all slots.

So client libraries that know about clusters find what they need and send everything here, and those that do not are
none the wiser. What changes a cluster is for its own nodes."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING

from l4proxy.plugins.redis.replies import error_reply
from l4proxy.protocols.redis.request import arguments
from l4proxy.protocols.redis.slots import SLOTS, slot_of
from l4proxy.protocols.redis.values import Map, Value, Verbatim, encode

if TYPE_CHECKING:
    from l4proxy.plugins.redis.session import Session, Task

__all__ = ["answer_about_cluster"]

ALL = SLOTS - 1


def answer_about_cluster(session: Session, run: Task) -> bytes | None:
    """The answer to a ``CLUSTER`` command. None: the nodes know it."""
    words = arguments(run[2])
    subcommand = words[1].upper() if len(words) > 1 else b""
    protocol = session.identity.protocol
    host = session.hub.config.advertised_host or session.conn.client.local_host
    port, id = session.conn.client.local_port, _id(session)
    value: Value
    match subcommand, len(words):
        case b"SLOTS", 2:
            value = [[0, ALL, [host.encode(), port, id, []]]]
        case b"SHARDS", 2:
            node = [
                (b"id", id), (b"port", port), (b"ip", host.encode()), (b"endpoint", host.encode()),
                (b"role", b"master"), (b"replication-offset", 0), (b"health", b"online"),
            ]  # fmt: skip
            value = [Map([(b"slots", [0, ALL]), (b"nodes", [Map(node)])])]
        case b"NODES", 2:
            line = b"%b %b:%d@%d myself,master - 0 0 1 connected 0-%d\n" % (id, host.encode(), port, port + 10000, ALL)
            value = Verbatim(line)
        case b"MYID", 2:
            value = id
        case b"REPLICAS" | b"SLAVES", 3:
            value = []
        case b"KEYSLOT", 3:
            value = slot_of(words[2])
        case b"INFO" | b"HELP", 2:
            return None
        case _:
            told = subcommand.decode("latin-1")
            return error_reply(f"ERR CLUSTER {told} is for the nodes of the cluster, and this is a proxy")
    return encode(value, protocol)


def _id(session: Session) -> bytes:
    """The same for all clients of a use, and after a restart."""
    return sha1(f"l4proxy {session.hub.config.name} {session.hub.config.cluster}".encode()).hexdigest().encode()
