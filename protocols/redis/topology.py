"""What servers say of themselves: the slots of a Redis Cluster, redirections, replication, Sentinel.

Sources: https://redis.io/docs/latest/commands/cluster-shards/, ``cluster-slots``, ``info`` (section ``replication``),
``sentinel``, and https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from l4proxy.protocols.redis.slots import SLOTS
from l4proxy.protocols.redis.values import Value

__all__ = ["Node", "Redirection", "Replication", "ShardMap", "fields_of", "host_of", "read_replication",
           "read_sentinel", "read_shards", "read_slots", "redirection", "text_of"]  # fmt: skip


class Node(NamedTuple):
    """A server, as others name it."""

    id: str
    host: str
    """Empty: the host of the server that says so."""
    port: int
    hostname: str = ""
    """What its certificate may be checked against."""
    usable: bool = True
    """It is not known to be down."""
    dead: bool = False
    """It is known to be down, or stuck."""


@dataclass(slots=True)
class ShardMap:
    """The servers that have the same keys."""

    slots: list[tuple[int, int]]
    """First and last."""
    primary: Node | None
    replicas: list[Node] = field(default_factory=list)


def text_of(value: Value) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else ""


def host_of(value: Value) -> str:
    """``?`` stands for a name that was not configured (``cluster-preferred-endpoint-type``)."""
    return "" if value == b"?" else text_of(value)


def fields_of(value: Value) -> dict[str, Value]:
    """A map, in RESP3 or as RESP2 has it."""
    pairs = value if value and isinstance(value[0], tuple) else list(zip(value[::2], value[1::2], strict=False))
    return {text_of(name): one for name, one in pairs}


def _ranges(numbers: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    ranges = [(int(first), int(last)) for first, last in numbers]
    if any(not 0 <= first <= last < SLOTS for first, last in ranges):
        raise ValueError("a slot that there is not")
    return ranges


def read_shards(value: Value, *, tls: bool = False) -> list[ShardMap]:
    """The answer to ``CLUSTER SHARDS``. ``tls``: ports for TLS are wanted, where there are such. Raises
    ValueError."""
    try:
        return [_shard(fields_of(one), tls) for one in value]
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise _unreadable("CLUSTER SHARDS", error) from None


def _shard(told: dict[str, Value], tls: bool) -> ShardMap:
    slots = told["slots"]
    shard = ShardMap(_ranges(zip(slots[::2], slots[1::2], strict=True)), None)
    primaries: list[tuple[bool, int, Node]] = []
    for fields in map(fields_of, told["nodes"]):
        port = fields.get("tls-port") if tls else fields.get("port")
        port = port or fields.get("port") or fields.get("tls-port") or 0
        endpoint, address = host_of(fields.get("endpoint")), text_of(fields.get("ip"))
        hostname = text_of(fields.get("hostname")) or ("" if endpoint == address else endpoint)
        dead = text_of(fields.get("health")) in ("fail", "failed")
        node = Node(text_of(fields["id"]), address, int(port), hostname, not dead, dead)
        if text_of(fields.get("role")) in ("master", "primary"):
            primaries.append((not dead, int(fields.get("replication-offset", 0)), node))
        else:
            shard.replicas.append(node)
    # After a failover the former primary goes on being called one, until it comes back (since Redis 7.2, and Valkey).
    primaries.sort()
    if primaries:
        shard.primary = primaries.pop()[2]
    shard.replicas += [node._replace(usable=False) for *_, node in primaries]
    return shard


def read_slots(value: Value) -> list[ShardMap]:
    """The answer to ``CLUSTER SLOTS``, where a server does not know ``CLUSTER SHARDS``. Raises ValueError."""
    shards: dict[str, ShardMap] = {}
    try:
        for first, last, *nodes in value:
            primary, *replicas = [_node(*node) for node in nodes]
            shard = shards.setdefault(primary.id, ShardMap([], primary, replicas))
            shard.slots += _ranges([(first, last)])
    except (TypeError, ValueError, IndexError) as error:
        raise _unreadable("CLUSTER SLOTS", error) from None
    return list(shards.values())


def _node(host: Value, port: Value, id: Value = b"", metadata: Value = (), *_: Value) -> Node:
    """Where ``host`` is a name, the metadata have the address."""
    told = fields_of(metadata)
    address = text_of(told.get("ip")) or host_of(host)
    name = text_of(told.get("hostname")) or ("" if address == host_of(host) else host_of(host))
    return Node(text_of(id) or f"{address}:{port}", address, int(port), name)


def _unreadable(command: str, error: Exception) -> ValueError:
    return ValueError(f"the answer to {command} cannot be read: {error}")


class Redirection(NamedTuple):
    """``MOVED`` or ``ASK``: the server that a command is for."""

    asking: bool
    slot: int
    host: str
    """Empty: the host of the server that says so."""
    port: int


def redirection(error: bytes) -> Redirection | None:
    """What an error says; None: it is another one. ``-MOVED 3999 127.0.0.1:6381``"""
    words = error.split()
    if len(words) != 3 or words[0] not in (b"-MOVED", b"-ASK") or not words[1].isdigit():
        return None
    host, _, port = words[2].decode("latin-1").rpartition(":")
    if not port.isdigit() or int(words[1]) >= SLOTS or not 0 < int(port) < 65536:
        return None
    return Redirection(words[0] == b"-ASK", int(words[1]), host, int(port))


class Replication(NamedTuple):
    """What ``INFO replication`` says."""

    is_primary: bool
    offset: int
    """How much of the stream of writes it has."""
    linked: bool = True
    """A replica has a connection to its primary."""
    syncing: bool = False
    """A replica is just being copied to, or was never."""
    quiet: int = 0
    """Seconds since a replica heard of its primary, or has lost it."""
    primary: tuple[str, int] | None = None
    """Where a replica's primary is."""
    replicas: tuple[tuple[str, int], ...] = ()


def read_replication(text: bytes) -> Replication | None:
    """None: it is no such thing."""
    told = dict(line.split(":", 1) for line in text.decode("latin-1").split("\r\n") if ":" in line)
    number = {name: int(value) for name, value in told.items() if value.lstrip("-").isdigit()}
    match told.get("role"):
        case "master":
            rows = [dict(part.split("=", 1) for part in value.split(",") if "=" in part)
                    for name, value in told.items() if name.startswith("slave") and name[5:].isdigit()]  # fmt: skip
            replicas = tuple((row["ip"], int(row["port"])) for row in rows if row.get("port", "").isdigit())
            return Replication(True, number.get("master_repl_offset", 0), replicas=replicas)
        case "slave":
            linked = told.get("master_link_status") == "up"
            since = number.get("master_last_io_seconds_ago" if linked else "master_link_down_since_seconds", -1)
            return Replication(
                False,
                number.get("slave_repl_offset", 0),
                linked,
                bool(number.get("master_sync_in_progress")) or since < 0,
                max(0, since),
                (told.get("master_host", ""), number.get("master_port", 0)),
            )
    return None


def read_sentinel(primary: Value, replicas: Sequence[Value], address: Value) -> tuple[Node, list[Node], int]:
    """The answers to ``SENTINEL MASTER name``, ``REPLICAS name`` and ``GET-MASTER-ADDR-BY-NAME name``, and the epoch of
    the configuration: of two Sentinels that say different things, the one with the higher epoch knows. Raises
    ValueError.

    When a replica was promoted, it is its address that is told; in the other two answers it is a replica of the former
    primary until all others follow it, which can take some seconds."""
    try:
        told = fields_of(primary)
        former = _sentinel_node(told)
        nodes = {(node.host, node.port): node for node in (_sentinel_node(fields_of(one)) for one in replicas)}
        now = text_of(address[0]), int(address[1])
        epoch = int(told.get("config-epoch", b"0"))
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise _unreadable("SENTINEL", error) from None
    if now == (former.host, former.port) or now not in nodes:
        return former, list(nodes.values()), epoch
    promoted = nodes.pop(now)
    return promoted._replace(usable=True), [*nodes.values(), former._replace(usable=False)], epoch


_DEAD = frozenset(("s_down", "o_down"))
_DOWN = _DEAD | {"disconnected"}


def _sentinel_node(told: dict[str, Value]) -> Node:
    flags = set(text_of(told.get("flags")).split(","))
    linked = text_of(told.get("master-link-status")) in ("", "ok")
    host, port = text_of(told["ip"]), int(told["port"])
    return Node(f"{host}:{port}", host, port, usable=linked and not flags & _DOWN, dead=bool(flags & _DEAD))
