"""Statistics to a statsd server, by UDP or a unix datagram socket.

Counters are sent as what they grew by, gauges as they are. A histogram, which statsd cannot take ready-made, becomes
the counters ``NAME.count`` and ``NAME.sum`` and, of what was measured since the last push, the gauges ``NAME.p50``,
``NAME.p90`` and ``NAME.p99``.

https://github.com/statsd/statsd/blob/master/docs/metric_types.md and, for tags,
https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from l4proxy import Register, hookimpl
from l4proxy.address import Address
from l4proxy.config.types import Duration, Range, Size
from l4proxy.histograms import quantile
from l4proxy.prometheus import QUANTILES
from l4proxy.snapshot import Family, Sample, Snapshot, increase
from l4proxy.stats_sink import StatsSink
from l4proxy.turns import in_turns

__all__ = ["StatsdConfig", "StatsdSink", "metric_lines", "packets"]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_NOT_IN_TAGS = re.compile(r"[\s,|#]+")


@dataclass(frozen=True, slots=True)
class StatsdConfig:
    address: Address = Address("127.0.0.1", 8125)
    """Where the server listens: `host:port` (UDP), or `unix:/path` (datagrams)."""
    dialect: Literal["statsd", "dogstatsd"] = "statsd"
    """What becomes of labels: with `statsd` they follow in the name, with `dogstatsd` they are tags."""
    prefix: str = ""
    """Stands in front of every name, with a dot behind it."""
    tags: dict[str, str] = field(default_factory=dict)
    """Tags of every metric; `dogstatsd` only."""
    interval: Annotated[Duration, Range(0.1)] = Duration(5.0)
    """Between two pushes."""
    packet_size: Annotated[Size, Range(200, 65507)] = Size(1432)
    """Bytes of a datagram at most; the default fits into one frame of an Ethernet."""

    def __post_init__(self) -> None:
        if not self.address.is_unix and not (self.address.host and self.address.port):
            raise ValueError('address: a statsd server has a host and a port (such as "127.0.0.1:8125")')
        if self.tags and self.dialect == "statsd":
            raise ValueError('tags: only dialect = "dogstatsd" knows tags')


class StatsdSink(StatsSink[StatsdConfig]):
    """Counters and gauges for a statsd or DogStatsD server."""

    name = "statsd"

    def __init__(self, config: StatsdConfig) -> None:
        super().__init__(config)
        self.interval = config.interval
        self._sock: socket.socket | None = None

    async def push(self, snapshot: Snapshot, previous: Snapshot) -> None:
        lines = [line async for line in in_turns(metric_lines(increase(snapshot, previous), self.config))]
        sock = self._sock = self._sock or await _connect(self.config.address)
        loop = asyncio.get_running_loop()
        try:
            async for packet in in_turns(packets(lines, self.config.packet_size)):
                await loop.sock_sendall(sock, packet)
        except OSError:
            self.close()  # the name is looked up again for the next push
            raise

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None


async def _connect(address: Address) -> socket.socket:
    """A datagram socket for one peer: so errors of the network come back to us."""
    if address.is_unix:
        family, target = socket.AF_UNIX, _unix_name(address.path)
    else:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        family, target = found[0][0], found[0][4]
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


def _unix_name(path: str) -> Any:
    return "\0" + path[1:] if path.startswith("@") else path


def metric_lines(snapshot: Snapshot, config: StatsdConfig) -> Iterator[bytes]:
    """What is sent for a snapshot of increases, a metric each. Counters that did not grow are left out."""
    naming = _tagged(config) if config.dialect == "dogstatsd" else _dotted(config)
    for name, family in snapshot.items():
        for sample in family["samples"]:
            begin, end = naming(name, family, sample)
            for suffix, value, kind in _values(family, sample):
                yield f"{begin}{suffix}:{_number(value)}|{kind}{end}".encode()


def _values(family: Family, sample: Sample) -> Iterator[tuple[str, float, str]]:
    """Suffix of the name, value and type of each metric that a series becomes."""
    value = sample["value"]
    if isinstance(value, dict):
        if any(value["counts"]):
            yield ".count", sum(value["counts"]), "c"
            yield ".sum", value["sum"], "c"
            for word, fraction in QUANTILES.items():
                estimate = quantile(family["bounds"], value["counts"], fraction, value["sum"])
                yield f".{word}", estimate or 0.0, "g"
    elif family["kind"] == "gauge":
        if value < 0:
            yield "", 0, "g"  # a sign means a change in this protocol, so a value below 0 is set in two steps
        yield "", value, "g"
    elif value:
        yield "", value, "c"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


Naming = Callable[[str, Family, Sample], tuple[str, str]]
"""What stands in front of a metric's suffix and behind its type."""


def _dotted(config: StatsdConfig) -> Naming:
    prefix = f"{config.prefix}." if config.prefix else ""

    def names(name: str, family: Family, sample: Sample) -> tuple[str, str]:
        return prefix + ".".join([name, *(_NOT_IN_NAMES.sub("_", label) or "_" for label in sample["labels"])]), ""

    return names


def _tagged(config: StatsdConfig) -> Naming:
    prefix = f"{config.prefix}." if config.prefix else ""
    own = [f"{key}:{_NOT_IN_TAGS.sub('_', value)}" for key, value in config.tags.items()]

    def names(name: str, family: Family, sample: Sample) -> tuple[str, str]:
        labels = zip(family["labels"], sample["labels"], strict=True)
        tags = ",".join([*own, *(f"{key}:{_NOT_IN_TAGS.sub('_', value)}" for key, value in labels)])
        return prefix + name, f"|#{tags}" if tags else ""

    return names


def packets(lines: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Whole lines joined up to ``limit`` bytes; a line that is longer on its own is left out."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if len(line) > limit:
            continue
        if batch and size + len(line) + 1 > limit:
            yield b"\n".join(batch)
            batch, size = [], 0
        size += len(line) + bool(batch)
        batch.append(line)
    if batch:
        yield b"\n".join(batch)


@hookimpl
def register_stats_sinks(register: Register[Any]) -> None:
    register(StatsdSink)
