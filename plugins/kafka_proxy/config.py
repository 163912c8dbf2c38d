"""The options of ``kafka_proxy``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from l4proxy.config.types import ClusterName, Duration, Plugin, PortRange, Range, Size, Use
from l4proxy.errors import did_you_mean
from l4proxy.plugins.kafka_proxy.login import KafkaLogin
from l4proxy.plugins.kafka_proxy.places import problem_of
from l4proxy.plugins.kafka_proxy.routes import KafkaRoute
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.frames import MAX_FRAME
from l4proxy.protocols.kafka.passage import MAX_MESSAGE
from l4proxy.registry import Kind

__all__ = ["KafkaProxyConfig"]

UseKafkaFilter = Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "kafka")]


@dataclass(frozen=True, slots=True)
class KafkaProxyConfig:
    cluster: ClusterName
    """The brokers that are asked first, as a client's `bootstrap.servers`. All others are found through them, and
    connected to with the same options."""
    routes: tuple[KafkaRoute, ...] = ()
    """Topics, groups and transactional ids that are at other clusters, which clients see as one with this. The first
    route that has a name says where it is."""
    logins: Mapping[ClusterName, KafkaLogin] = field(default_factory=dict)
    """Who the proxy is to brokers that it asks itself, where there are routes and brokers want to know (SASL), by
    cluster: `{ logs = { username = "l4proxy", password = { env = "LOGS_PASSWORD" } } }`."""
    filters: tuple[UseKafkaFilter, ...] = ()
    """Message filters, in the order in which they see requests: `[{ use = "topic_rules", ... }]`."""
    broker_names: str = ""
    """Brokers by TLS server name instead of by port: `"b{node}.kafka.example"`, with the broker's id for `{node}`.
    Clients bootstrap under any other name. Needs TLS on the listener."""
    broker_ports: Mapping[str, Annotated[int, Range(1, 65535)]] = field(default_factory=dict)
    """Brokers by port, one by one: `{ 1 = 9093, 2 = 9094 }`; no others can be reached then. Where it is empty, clients
    bootstrap at the listener's first port, broker 0 has the next one, broker 1 that behind it, and behind the last one
    it is the second one's turn again (broker 1001 of a range of 101 ports is where broker 1 would be)."""
    advertised_host: str = ""
    """Where clients are told to connect to; where it is empty, the address at which they have reached the proxy."""
    advertised_ports: PortRange | None = None
    """The ports by which clients reach those of the listener, in the same order, where they are others."""
    deny: tuple[str, ...] = ()
    """APIs that clients may not use, such as `["CreateTopics", "DeleteTopics"]`: they are not offered, and answered
    with an authorization error."""
    unknown_apis: Literal["hide", "forward"] = "hide"
    """What to do with APIs that are newer than this proxy: not offer them, or pass them on unseen. They may tell
    clients the brokers' own addresses."""
    max_connect_attempts: Annotated[int, Range(1, 100)] = 3
    """How many brokers are tried for a client that wants any."""
    max_frame: Annotated[Size, Range(1024)] = Size(MAX_FRAME)
    """The largest request or response."""
    max_message: Annotated[Size, Range(1024)] = Size(MAX_MESSAGE)
    """The largest one that may have to be seen as a whole; others are passed on as they come."""
    idle_timeout: Duration = Duration(3600.0)
    """A connection on which nothing moves for this long, or up to a quarter longer, is closed; 0: never."""
    max_connection_duration: Duration = Duration(0.0)
    """Close every connection that is this old; 0: never."""

    def __post_init__(self) -> None:
        clusters = [self.cluster, *(route.cluster for route in self.routes)]
        for login in self.logins:
            if login not in clusters:
                wrong = f"no route leads to a cluster {login!r}{did_you_mean(login, clusters)}"
                raise ValueError(f"logins.{login}: {wrong}")
        if self.broker_names and (problem := problem_of(self.broker_names)):
            raise ValueError(f"broker_names: {problem}")
        for node in self.broker_ports:
            if not (node.isascii() and node.isdigit()):
                raise ValueError(f"broker_ports: {node!r} is not the id of a broker")
        if self.broker_ports and self.broker_names:
            raise ValueError("broker_ports: brokers are told apart by port or by name; not both")
        for at, name in enumerate(self.deny):
            if name not in BY_NAME:
                raise ValueError(f"deny[{at}]: there is no API {name!r}{did_you_mean(name, BY_NAME)}")
            if name in NEEDED:
                raise ValueError(f"deny[{at}]: no client can do without {name}")


NEEDED = ("ApiVersions", "Metadata", "SaslHandshake", "SaslAuthenticate")
