"""The rules of ``rbac``: policies as they are configured, and the engine that decides by them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from l4proxy import Conn, TlsInfo
from l4proxy.config.types import Network, PortRange
from l4proxy.networks import NetworkSet
from l4proxy.plugins.name_patterns import NamePattern, NamePatterns

__all__ = ["Engine", "Facts", "RbacPolicy", "RbacRules", "facts_of"]


@dataclass(frozen=True, slots=True)
class RbacPolicy:
    """Which connections are meant: those that fulfil every option that is written, of each list one item."""

    source: tuple[Network, ...] = ()
    """The client's address, or the one that a PROXY header names."""
    direct_source: tuple[Network, ...] = ()
    """The address of the directly connected host, whatever a PROXY header says."""
    destination: tuple[Network, ...] = ()
    """The address that the client meant."""
    port: tuple[PortRange, ...] = ()
    """The port that the client meant: `443` or `"8000-8999"`."""
    server_name: tuple[NamePattern, ...] = ()
    """The TLS server name (SNI): exact, `*.example.com`, or `*` for any name at all."""
    san: tuple[str, ...] = ()
    """An alternative name of the client's certificate, with or without its kind: `URI:spiffe://example.com/web/*`,
    `DNS:*.example.com`, `*.example.com`. A star is any text."""
    subject: tuple[str, ...] = ()
    """The subject of the client's certificate. A star is any text."""


@dataclass(frozen=True, slots=True)
class RbacRules:
    example: ClassVar[str] = '{ action = "allow", policies = { office = { source = ["10.0.0.0/8"] } } }'

    action: Literal["allow", "deny"]
    """`allow`: who fulfils a policy may connect, and nobody else. `deny`: who fulfils one may not, and everybody else
    may."""
    policies: Mapping[str, RbacPolicy]
    """By name. They are tried in order; one without options is fulfilled by every connection."""

    def __post_init__(self) -> None:
        if not self.policies:
            raise ValueError("policies: write at least one (an empty one, such as everybody = {}, is always fulfilled)")


class Facts(NamedTuple):
    """What policies look at."""

    source: str
    direct_source: str
    destination: str
    port: int
    server_name: str
    tls: TlsInfo


_NO_TLS = TlsInfo()


def facts_of(conn: Conn) -> Facts:
    client, (destination, port) = conn.client, conn.destination
    server_name = conn.server_name.lower().removesuffix(".")
    return Facts(client.host, client.direct_host, destination, port, server_name, conn.tls or _NO_TLS)


Condition = Callable[[Facts], bool]


def conditions_of(policy: RbacPolicy) -> tuple[Condition, ...]:
    """Functions that all have to say yes. What the policy leaves out is not asked for."""
    source, direct_source = NetworkSet(policy.source), NetworkSet(policy.direct_source)
    destination, names = NetworkSet(policy.destination), NamePatterns(policy.server_name)
    has_san, has_subject = san_condition(policy.san), subject_condition(policy.subject)
    every: tuple[tuple[object, Condition], ...] = (
        (policy.source, lambda facts: facts.source in source),
        (policy.direct_source, lambda facts: facts.direct_source in direct_source),
        (policy.destination, lambda facts: facts.destination in destination),
        (policy.port, lambda facts: any(facts.port in ports for ports in policy.port)),
        (policy.server_name, lambda facts: facts.server_name in names),
        (policy.san, has_san),
        (policy.subject, has_subject),
    )
    return tuple(condition for option, condition in every if option)


_SAN_KINDS = ("DNS:", "URI:", "IP Address:", "email:")


def san_condition(patterns: Iterable[str]) -> Condition:
    """Patterns with a kind are held against the whole of an alternative name, others against what follows its kind.

    Upper and lower case differ, but not in host names (RFC 5280 section 7.2)."""
    with_kind = [pattern for pattern in patterns if pattern.startswith(_SAN_KINDS)]
    whole, whole_dns = _one_of(with_kind)
    value, value_dns = _one_of(pattern for pattern in patterns if pattern not in with_kind)

    def fulfilled(san: str) -> bool:
        _, _, text = san.partition(":")
        if san.startswith("DNS:"):
            return bool(whole_dns.fullmatch(san) or value_dns.fullmatch(text))
        return bool(whole.fullmatch(san) or value.fullmatch(text))

    return lambda facts: any(map(fulfilled, facts.tls.peer_sans))


def subject_condition(patterns: Iterable[str]) -> Condition:
    subject, _ = _one_of(patterns)
    return lambda facts: bool(facts.tls.peer_subject and subject.fullmatch(facts.tls.peer_subject))


def _one_of(patterns: Iterable[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Expressions that match one of the patterns in full: case-sensitive, and not. Without patterns: nothing."""
    texts = [".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns]
    expression = "|".join(texts) if texts else "(?!)"
    return re.compile(expression, re.DOTALL), re.compile(expression, re.DOTALL | re.IGNORECASE)


class Engine:
    """Rules, ready to be asked."""

    def __init__(self, rules: RbacRules) -> None:
        self._allow = rules.action == "allow"
        self._policies = [(name, conditions_of(policy)) for name, policy in rules.policies.items()]

    def decide(self, facts: Facts) -> tuple[bool, str]:
        """Whether a connection is allowed, and the first policy that it fulfils (empty: none)."""
        for name, conditions in self._policies:
            if all(condition(facts) for condition in conditions):
                return self._allow, name
        return not self._allow, ""
