"""``quota`` for Kafka: how many bytes clients may produce and fetch in a time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from l4proxy.config.types import Duration, Range, Size
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.protocols.kafka.declarations.records import FETCH, PRODUCE
from l4proxy.protocols.kafka.walker import Walker
from l4proxy.stats import Stats, counter, gauge, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["KafkaQuota", "KafkaQuotaConfig"]

_PRODUCED = Walker(PRODUCE.request, "topic_data(name partition_data(records))")
_FETCHED = Walker(FETCH.response, "responses(topic partitions(records))")
_THROTTLE = {api.name: Walker(api.response, "throttle_time_ms throttle_time_ms@") for api in (PRODUCE, FETCH)}
_SIZE = 5
"""Where the bytes of its batches stand in a `batches.Summary`."""


@dataclass(frozen=True, slots=True)
class KafkaQuotaConfig:
    produce_rate: Size = Size(0)
    """Bytes of records per second that may be produced; 0: no limit."""
    fetch_rate: Size = Size(0)
    """Bytes of records per second that may be fetched; 0: no limit."""
    per: Literal["use", "client_id", "principal", "source", "topic"] = "client_id"
    """One quota for all, or one for each client id, principal, address or topic."""
    topics: tuple[str, ...] = ()
    """Only records of these topics count: `["logs-*"]`; all, where none are given."""
    burst: Annotated[Duration, Range(0.0)] = Duration(1.0)
    """After a quiet time so much may be moved at once as the rate allows in this time."""
    max_throttle: Annotated[Duration, Range(0.001)] = Duration(30.0)
    """The longest time that a client is told to wait at once. Who is further over the quota is told so again."""
    max_clients: Annotated[int, Range(1, 10_000_000)] = 10_000
    """Quotas that are remembered; beyond that, those used longest ago are forgotten."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if not (self.produce_rate or self.fetch_rate):
            raise ValueError("produce_rate: write it, or fetch_rate, or both")


class KafkaQuotaStats(Stats, subsystem="kafka_quota", labels=("name",)):
    """Clients of one use."""

    throttled_total = labelled_counter("Responses that told a client to wait.", label="api")
    held_total = counter("Requests held because their client did not wait.")
    clients = gauge("Quotas that are remembered now.")
    clients_forgotten_total = counter("Quotas that were forgotten before they were unused again (max_clients).")


class Quota:
    """Bytes per second, for each of many.

    What one has moved is paid for by time: ``until`` is when all of it will be, and it is over its quota while that is
    in the future. In a quiet time it saves up to ``burst`` seconds.
    """

    def __init__(self, rate: int, config: KafkaQuotaConfig, stats: KafkaQuotaStats, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = config.burst
        self._limit = config.max_clients
        self._stats = stats
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        """Those used last are at the end."""

    def move(self, who: str, size: int) -> float:
        """``size`` bytes were moved; return how many seconds it is over its quota."""
        now = self._clock()
        until = max(self._until.get(who, 0.0), now - self._burst) + size / self._rate
        self._until[who] = until
        self._until.move_to_end(who)
        if len(self._until) > self._limit:
            _, forgotten = self._until.popitem(last=False)
            self._stats.clients_forgotten_total += forgotten > now - self._burst
        return until - now

    def __len__(self) -> int:
        return len(self._until)


class _Shared:
    def __init__(self, config: KafkaQuotaConfig, server: Server) -> None:
        self.config = config
        self.stats = server.stats.group(KafkaQuotaStats, name=config.name)
        self.clock = time.monotonic
        self.produced = self._quota(config.produce_rate)
        self.fetched = self._quota(config.fetch_rate)
        self._topics = Patterns(config.topics) if config.topics else None
        self.stop_collecting = server.stats.on_collect(self._collect)

    def _quota(self, rate: int) -> Quota | None:
        return Quota(rate, self.config, self.stats, self.clock) if rate else None

    def counts(self, topic: str) -> bool:
        return self._topics is None or self._topics.matches(topic)

    def _collect(self) -> None:
        self.stats.clients = sum(len(quota) for quota in (self.produced, self.fetched) if quota is not None)


class KafkaQuota(KafkaFilter[KafkaQuotaConfig]):
    """Let clients produce and fetch only so many bytes a second.

        { use = "quota", produce_rate = "5MiB", fetch_rate = "20MiB", per = "principal" }

    Who is over its quota is told in the response how long to wait (`throttle_time_ms`), as by brokers, and clients do.
    The next request of one that does not is held. All connections of a client count together, whichever brokers they
    are to; each worker counts for itself.
    """

    name = "quota"
    shared: _Shared

    @classmethod
    def provision(cls, config: KafkaQuotaConfig, server: Server) -> _Shared:
        return _Shared(config, server)

    @classmethod
    def cleanup(cls, shared: _Shared) -> None:
        shared.stop_collecting()

    @classmethod
    def wanted(cls, config: KafkaQuotaConfig) -> frozenset[str]:
        rates = {"Produce": config.produce_rate, "Fetch": config.fetch_rate}
        return frozenset(name for name, rate in rates.items() if rate)

    @classmethod
    def goes_by_names(cls, config: KafkaQuotaConfig) -> bool:
        return bool(config.topics) or config.per == "topic"

    def __init__(self) -> None:
        self._over_until = 0.0
        """When the client, of this connection, will have waited long enough."""

    def on_request(self, request: KafkaRequest) -> KafkaRequest | None:
        wait = self._over_until - self.shared.clock()
        if wait <= 0:
            return self._pass(request)
        self.shared.stats.held_total += 1
        self.conn.call_later(wait, lambda: self.release(self._pass(request)))
        return None

    def _pass(self, request: KafkaRequest) -> KafkaRequest:
        if request.kind == "Produce":
            data, at = request.frame, request.at
            walk = _PRODUCED.whole(request.version)
            (topics,) = request.read(lambda: walk(data, at, len(data)))
            request.state[self.key("over")] = self._move(self.shared.produced, request, topics)
        return request

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        request = response.request
        data, at = response.frame, response.at
        if request.kind == "Produce":
            over = request.state[self.key("over")]
        else:
            walk = _FETCHED.whole(request.version)
            (topics,) = response.read(lambda: walk(data, at, len(data)))
            over = self._move(self.shared.fetched, request, topics)
        if over > 0 and request.version:
            told, span = response.read(lambda: _THROTTLE[request.kind].whole(request.version)(data, at, len(data)))
            milliseconds = int(over * 1000) + 1
            if milliseconds > told:
                response.splice([(*span, milliseconds.to_bytes(4, "big"))])
            self.shared.stats.throttled_total.add(request.kind)
        return response

    def _move(self, quota: Quota | None, request: KafkaRequest, topics: Any) -> float:
        """Records have been moved; return how many seconds the client has to wait."""
        assert quota is not None
        over = 0.0
        for who, size in self._amounts(request, topics):
            over = max(over, quota.move(who, size))
        over = min(over, self.config.max_throttle)
        if over > 0:
            self._over_until = max(self._over_until, self.shared.clock() + over)
        return over

    def _amounts(self, request: KafkaRequest, topics: Any) -> Iterator[tuple[str, int]]:
        """How many bytes, for whose quota."""
        per, total = self.config.per, 0
        for name, partitions in topics or ():
            topic = "" if name is None else name.decode(errors="replace")
            if self.shared.counts(topic):
                size = sum(records[_SIZE] for (records,) in partitions if records is not None)
                if per == "topic":
                    yield topic, size
                total += size
        if total and per != "topic":
            yield self._who(request), total

    def _who(self, request: KafkaRequest) -> str:
        match self.config.per:
            case "client_id":
                return request.client_id.decode(errors="replace")[:256]
            case "principal":
                return str(self.conn.state.get("kafka:principal", ""))[:256]
            case "source":
                return self.conn.client.host
        return ""


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(KafkaQuota)
