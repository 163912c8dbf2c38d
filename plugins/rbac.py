"""``rbac``: who may connect, by address, port, server name and client certificate."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from l4proxy import CloseReason, Filter, Register, hookimpl
from l4proxy.config.types import Duration
from l4proxy.plugins.admission import refuse
from l4proxy.plugins.rbac_rules import Engine, RbacRules, facts_of
from l4proxy.stats import Stats, counter, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["Rbac", "RbacConfig"]


@dataclass(frozen=True, slots=True)
class RbacConfig:
    rules: RbacRules | None = None
    """What decides."""
    shadow_rules: RbacRules | None = None
    """What only counts, logs whom it would deny, and leaves its result in the connection's state: for trying rules
    before they decide."""
    delay: Duration = Duration(0.0)
    """How long a connection that is denied is kept, unread, before it is closed: it slows down those who try again at
    once. 0: it is closed at once."""
    name: str = ""
    """Tells the statistics of several uses apart."""

    def __post_init__(self) -> None:
        if not self.rules and not self.shadow_rules:
            raise ValueError("rules: write rules, shadow_rules, or both")


class RbacStats(Stats, subsystem="rbac", labels=("name",)):
    """Decisions of one use."""

    allowed_total = counter("Connections allowed.")
    denied_total = counter("Connections denied.")
    fulfilled_total = labelled_counter("Connections that fulfilled a policy, by the first one's name.", label="policy")
    shadow_allowed_total = counter("Connections that the shadow rules would have allowed.")
    shadow_denied_total = counter("Connections that the shadow rules would have denied.")
    shadow_fulfilled_total = labelled_counter("Connections that fulfilled a shadow policy, by name.", label="policy")


class Engines(NamedTuple):
    """What all connections of one use share."""

    rules: Engine | None
    shadow_rules: Engine | None
    stats: RbacStats


class Rbac(Filter[RbacConfig]):
    """Allow or deny connections by the client's address, the destination, the server name and the client's certificate.

    Only the office, and only to two ports:

        [[listeners.filters]]
        use = "rbac"
        rules.action = "allow"
        rules.policies.office = { source = ["10.0.0.0/8"], port = [443, "8000-8999"] }

    It decides before a byte passes and before anything is connected. Who is denied is disconnected as `rbac_denied`.
    Several uses in a chain all have to allow it. Access logs show what shadow rules say with
    `%FILTER_STATE(rbac:shadow_result)%` (`allowed` or `denied`) and `%FILTER_STATE(rbac:shadow_policy)%`.
    """

    name = "rbac"
    shared: Engines

    @classmethod
    def provision(cls, config: RbacConfig, server: Server) -> Engines:
        return Engines(
            Engine(config.rules) if config.rules else None,
            Engine(config.shadow_rules) if config.shadow_rules else None,
            server.stats.group(RbacStats, name=config.name),
        )

    def on_connect(self) -> Awaitable[None] | None:
        facts = facts_of(self.conn)
        engines = self.shared
        if engines.shadow_rules is not None:
            self._note_shadow(*engines.shadow_rules.decide(facts))
        if engines.rules is None:
            return None
        allowed, policy = engines.rules.decide(facts)
        if policy:
            engines.stats.fulfilled_total.add(policy)
        if allowed:
            engines.stats.allowed_total += 1
            return None
        engines.stats.denied_total += 1
        reason = CloseReason("filter", "on_connect", "rbac_denied", self.name, message=_because(policy))
        return refuse(self.conn, reason, self.config.delay)

    def _note_shadow(self, allowed: bool, policy: str) -> None:
        stats, state = self.shared.stats, self.conn.state
        state["rbac:shadow_result"] = "allowed" if allowed else "denied"
        if policy:
            state["rbac:shadow_policy"] = policy
            stats.shadow_fulfilled_total.add(policy)
        if allowed:
            stats.shadow_allowed_total += 1
        else:
            stats.shadow_denied_total += 1
            self.conn.log.info("shadow rules would deny %s: %s", self.conn.client, _because(policy))


def _because(policy: str) -> str:
    return f"policy {policy}" if policy else "no policy allows it"


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(Rbac)
