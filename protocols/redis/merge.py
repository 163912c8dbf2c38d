"""One command for several servers, and several replies as one.

Which commands can be split, and how replies become one, the server says itself in its command table (request and
response policies, https://redis.io/docs/latest/develop/reference/command-tips/); what it calls special is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, TypeVar

from l4proxy.protocols.redis.values import Failure, Push, Set, Value, Verbatim

__all__ = ["SPLIT_STEP", "Part", "compose_cursor", "gather_values", "merge", "merge_info", "split", "split_cursor"]

W = TypeVar("W", bound=Hashable)

SPLIT_STEP = {"MGET": 1, "MSET": 2, "DEL": 1, "UNLINK": 1, "EXISTS": 1, "TOUCH": 1}
"""Commands that can be split by their keys, and by how many arguments these are apart. ``MSETNX`` is none of them: it
does all or nothing."""
SHARD_BITS = 14
"""Of a composed cursor; 2^14 shards are as many as a Redis Cluster has slots."""


class Part(NamedTuple):
    """What of a command is for one server: its arguments, and which of the keys these are."""

    arguments: list[bytes]
    positions: list[int]


def split(arguments: Sequence[bytes], step: int, places: Sequence[W]) -> dict[W, Part]:
    """Split a command by where its keys are, which ``places`` says in their order. The keys of each part stay in
    order."""
    parts: dict[W, Part] = {}
    for position, place in enumerate(places):
        at = 1 + position * step
        part = parts.get(place)
        if part is None:
            part = parts[place] = Part([arguments[0]], [])
        part.arguments.extend(arguments[at : at + step])
        part.positions.append(position)
    return parts


def gather_values(parts: Sequence[Part], replies: Sequence[Value]) -> list[Value]:
    """The values of ``MGET``, each in its place; where a part failed, its error in each of its places."""
    values: list[Value] = [None] * sum(len(part.positions) for part in parts)
    for part, reply in zip(parts, replies, strict=True):
        several = reply if isinstance(reply, list) else [reply] * len(part.positions)
        for position, value in zip(part.positions, several, strict=False):
            values[position] = value
    return values


def merge(policy: str, replies: Sequence[Value]) -> Value:
    """Several replies as one. Without a policy they are arrays, and become one array."""
    failures = [reply for reply in replies if isinstance(reply, Failure)]
    if policy == "one_succeeded":
        return next((reply for reply in replies if not isinstance(reply, Failure)), failures[-1] if failures else None)
    if failures:
        return failures[0] if len(failures) == 1 else Failure(b"ERR finished with %d errors" % len(failures))
    match policy:
        case "all_succeeded":
            return replies[0]
        case "agg_sum":
            return _each(sum, replies)
        case "agg_min":
            return _each(min, replies)
        case "agg_max":
            return _each(max, replies)
        case "agg_logical_and":
            return _each(lambda values: int(all(values)), replies)
        case "agg_logical_or":
            return _each(lambda values: int(any(values)), replies)
    kind = type(replies[0]) if isinstance(replies[0], Set | Push) else list
    return kind(value for reply in replies if isinstance(reply, list) for value in reply)


def _each(function: Callable[[list[int]], int], replies: Sequence[Value]) -> Value:
    """Of numbers, or of the numbers that stand in the same place of arrays."""
    if all(isinstance(reply, list) for reply in replies):
        return [_each(function, column) for column in zip(*replies, strict=False)]
    return function([reply for reply in replies if isinstance(reply, int)] or [0])


def compose_cursor(shard: int, cursor: int) -> int:
    """A cursor of ``SCAN`` that knows which of several servers it is of. 0 for the beginning of the first."""
    return cursor << SHARD_BITS | shard


def split_cursor(composed: int) -> tuple[int, int]:
    """The number of the server, and its cursor."""
    return composed & ((1 << SHARD_BITS) - 1), composed >> SHARD_BITS


_SUMMED = re.compile(
    rb"(?m)^(connected_clients|blocked_clients|tracking_clients|clients_in_timeout_table|used_memory|used_memory_rss"
    rb"|used_memory_dataset|total_connections_received|total_commands_processed|instantaneous_ops_per_sec"
    rb"|total_net_input_bytes|total_net_output_bytes|rejected_connections|expired_keys|evicted_keys|keyspace_hits"
    rb"|keyspace_misses|pubsub_channels|pubsub_patterns|total_error_replies|total_reads_processed"
    rb"|total_writes_processed|connected_slaves):(\d+)"
)
_DATABASE = re.compile(rb"(?m)^(db\d+):keys=(\d+),expires=(\d+),avg_ttl=(\d+)(.*)")


def merge_info(replies: Sequence[Value]) -> Value:
    """``INFO`` of several servers: the first one's, but what counts and adds up is added up."""
    texts = [reply for reply in replies if isinstance(reply, bytes) and not isinstance(reply, Failure)]
    if not texts:
        return replies[0]
    counts: dict[bytes, int] = {}
    databases: dict[bytes, list[int]] = {}
    for text in texts:
        for name, number in _SUMMED.findall(text):
            counts[name] = counts.get(name, 0) + int(number)
        for name, keys, expires, _, _ in _DATABASE.findall(text):
            sums = databases.setdefault(name, [0, 0])
            sums[0] += int(keys)
            sums[1] += int(expires)
    lines = [_info_line(line, counts) for line in texts[0].split(b"\r\n") if not _DATABASE.fullmatch(line)]
    if b"# Keyspace" in lines:
        rows = [
            b"%b:keys=%d,expires=%d,avg_ttl=0" % (name, keys, expires)
            for name, (keys, expires) in sorted(databases.items())
        ]
        at = lines.index(b"# Keyspace") + 1
        lines[at:at] = rows
    merged = b"\r\n".join(lines)
    return Verbatim(merged) if isinstance(texts[0], Verbatim) else merged


def _info_line(line: bytes, counts: dict[bytes, int]) -> bytes:
    name = line.partition(b":")[0]
    return b"%b:%d" % (name, counts[name]) if name in counts else line
