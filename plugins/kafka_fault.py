"""``fault`` for Kafka: delays and errors on purpose."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.types import Duration, Percent, Range
from l4proxy.errors import did_you_mean
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.delays import Delays
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.patterns import Patterns
from l4proxy.plugins.kafka_proxy.refusing import complete, refuse
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.errors import ERRORS
from l4proxy.protocols.kafka.names import TOPIC, names_of
from l4proxy.protocols.kafka.relay_plan import FOLLOWED
from l4proxy.stats import Stats, counter, gauge

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["KafkaFault", "KafkaFaultConfig"]


def error_code(name: str) -> int:
    """Kafka's code for an error, by its name. Raises ValueError."""
    for code, known in ERRORS.items():
        if known == name and code:
            return code
    raise ValueError(f"there is no error {name!r}{did_you_mean(name, ERRORS.values())}")


@dataclass(frozen=True, slots=True)
class KafkaFaultConfig:
    delay: Duration = Duration(0.0)
    """How long a request is held, and what comes behind it waits."""
    delay_percent: Percent = Percent(100.0)
    """So many of them."""
    error: str = ""
    """An error that is answered instead of asking the broker, by Kafka's name: `"NOT_LEADER_OR_FOLLOWER"`. It stands
    where each API has its errors: for every topic, partition or group that was asked for."""
    error_percent: Percent = Percent(100.0)
    """So many of them."""
    apis: tuple[str, ...] = ()
    """Only requests for these APIs: `["Produce", "Fetch"]`; all, where none are given."""
    topics: tuple[str, ...] = ()
    """Only for these topics: `["orders", "test-*"]`. What else a request asks for goes to the broker."""
    max_active: Annotated[int, Range(1)] = 1000
    """Requests that are held at a time; more pass without a delay."""

    def __post_init__(self) -> None:
        if not self.delay and not self.error:
            raise ValueError("delay: write delay, or error, or both")
        for name in self.apis:
            if name not in BY_NAME:
                raise ValueError(f"apis: there is no API {name!r}{did_you_mean(name, BY_NAME)}")
            if BY_NAME[name].key in FOLLOWED:
                raise ValueError(f"apis: message filters do not see {name}")
        if self.error:
            try:
                error_code(self.error)
            except ValueError as error:
                raise ValueError(f"error: {error}") from None


class KafkaFaultStats(Stats, subsystem="kafka_fault"):
    """Faults that were made."""

    delays_total = counter("Requests held.")
    errors_total = counter("Requests answered with an error, or in part.")
    active = gauge("Requests held now.")


class _Shared:
    def __init__(self, config: KafkaFaultConfig, stats: KafkaFaultStats) -> None:
        self.stats = stats
        self.code = error_code(config.error) if config.error else 0
        self._topics = Patterns(config.topics) if config.topics else None

    def code_of(self, kind: str, name: bytes) -> int:
        return self.code if self.is_meant(kind, name) else 0

    def is_meant(self, kind: str, name: bytes) -> bool:
        return self._topics is not None and kind == TOPIC and self._topics.matches(name.decode(errors="replace"))

    def concerns(self, request: KafkaRequest) -> bool:
        """Whether it is about one of the topics."""
        if self._topics is None:
            return True
        names = names_of(request.api, request.version, "request")

        def decide(kind: str, name: bytes) -> bytes | None:
            return None if self.is_meant(kind, name) else name

        return bool(request.read(lambda: names.decide(request.frame, request.at, len(request.frame), decide)).dropped)


class KafkaFault(KafkaFilter[KafkaFaultConfig]):
    """Delay requests, or answer them with an error, to see what becomes of it.

        { use = "fault", delay = "200ms", delay_percent = 10, error = "NOT_LEADER_OR_FOLLOWER", apis = ["Produce"] }

    A request may be both delayed and refused. Times may be up to a tenth of a second longer.
    """

    name = "fault"
    shared: _Shared

    @classmethod
    def provision(cls, config: KafkaFaultConfig, server: Server) -> _Shared:
        return _Shared(config, server.stats.group(KafkaFaultStats))

    @classmethod
    def wanted(cls, config: KafkaFaultConfig) -> frozenset[str] | None:
        return frozenset(config.apis) if config.apis else None

    @classmethod
    def goes_by_names(cls, config: KafkaFaultConfig) -> bool:
        return bool(config.topics)

    def on_connect(self) -> None:
        self._delays: Delays[KafkaRequest] = Delays(self.config, self.shared.stats)

    def on_request(self, request: KafkaRequest) -> KafkaRequest | None:
        if not self.shared.concerns(request):
            self.ignore_response(request)
            return request
        return self._delays.hold(self, request, self._pass)

    def _pass(self, request: KafkaRequest) -> KafkaRequest | None:
        config, shared = self.config, self.shared
        if not config.error or random.random() * 100 >= config.error_percent:
            self.ignore_response(request)
            return request
        shared.stats.errors_total += 1
        if config.topics:
            return refuse(self, request, shared.code_of)
        self.reply(request, KafkaResponse.error(request, shared.code))
        return None

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        complete(self, response)
        return response

    def on_close(self, reason: object) -> None:
        self._delays.close()


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(KafkaFault)
