"""Groups and transactions stay at one cluster: what cannot be split is refused.

A group, or a transaction, is kept by one cluster, which knows nothing of topics elsewhere: its brokers would let a
producer try for ever, and never assign a consumer anything. Here they are told, with an error that clients do not take
for passing: what is elsewhere is as if it were forbidden. Whoever comes to the wrong coordinator, be it because the
routes have changed, is told to ask again where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.logging_setup import once_per
from l4proxy.plugins.kafka_proxy.message import KafkaFilter, KafkaRequest, KafkaResponse
from l4proxy.plugins.kafka_proxy.refusing import complete, refuse
from l4proxy.plugins.kafka_proxy.routes import Routes
from l4proxy.plugins.kafka_proxy.routing import HIDDEN
from l4proxy.protocols.kafka.names import GROUP, TOPIC
from l4proxy.protocols.kafka.refusal import (
    GROUP_AUTHORIZATION_FAILED,
    TOPIC_AUTHORIZATION_FAILED,
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)  # fmt: skip

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["CLUSTER", "Pinned", "PinnedConfig"]

CLUSTER = "kafka_proxy:cluster"
"""In a connection's state: the number of the cluster that it is to."""
NOT_COORDINATOR = 16
LOG_PAUSE = 10.0
_KEPT_BY_GROUPS = {"AddOffsetsToTxn", "AddPartitionsToTxn", "ConsumerGroupHeartbeat", "JoinGroup", "OffsetCommit",
                   "OffsetFetch", "TxnOffsetCommit"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PinnedConfig:
    routes: Routes


class Pinned(KafkaFilter[PinnedConfig]):
    """Refuse to join at one cluster what is at several. Stands last where there are routes."""

    name = "pinned"
    hides = HIDDEN
    shared: Routes

    @classmethod
    def provision(cls, config: PinnedConfig, server: Server) -> Routes:
        return config.routes

    @classmethod
    def wanted(cls, config: PinnedConfig) -> frozenset[str]:
        return frozenset(_KEPT_BY_GROUPS)

    def on_request(self, request: KafkaRequest) -> KafkaRequest | None:
        here = self.conn.state[CLUSTER]
        refused = False

        def code_of(kind: str, name: bytes) -> int:
            nonlocal refused
            where = self.shared.find(kind, name)
            if where is None or where == here:
                return 0
            refused = True
            self._tell(request.kind, kind, name, where, here)
            return _code(request.kind, kind)

        passed = refuse(self, request, code_of)
        if not refused:
            self.ignore_response(request)
        return passed

    def on_response(self, response: KafkaResponse) -> KafkaResponse:
        complete(self, response)
        return response

    def _tell(self, api: str, kind: str, name: bytes, where: int, here: int) -> None:
        text = name.decode(errors="backslashreplace")
        if times := once_per(LOG_PAUSE, f"pinned {api} {kind} {text}"):
            clusters = self.shared.clusters
            self.conn.log.warning(
                "%s at cluster %s is refused: %s %r is at cluster %s (%d times)",
                api, clusters[here], kind.replace("_", " "), text, clusters[where], times,
            )  # fmt: skip


def _code(api: str, kind: str) -> int:
    if kind == TOPIC:
        return TOPIC_AUTHORIZATION_FAILED
    if api == "AddOffsetsToTxn" and kind == GROUP:
        return GROUP_AUTHORIZATION_FAILED
    if api == "TxnOffsetCommit" and kind != GROUP:
        return TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    return NOT_COORDINATOR
