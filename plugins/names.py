"""Endpoints that are written as names: looked up, and looked up again when the answer's time is over.

`static`, `strict_dns`, `logical_dns` and `endpoints_file` differ in what they make of an answer, and share this.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

from l4proxy.address import Address
from l4proxy.config.types import Duration
from l4proxy.discovery import Discovery, Update
from l4proxy.endpoint import EndpointSpec
from l4proxy.plugins.host_files import check_servers, is_ip
from l4proxy.resolver import ResolveError, Resolver

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster, EndpointConfig

__all__ = ["DnsConfig", "DnsDiscovery", "Names", "is_literal", "literal_endpoints", "one_endpoint", "one_endpoint_each"]

JITTER = 0.1
"""Look-ups are put off by up to this part of their interval, so that many proxies do not ask at the same moment."""
Family = Literal["auto", "ipv4", "ipv6", "all"]
Make = Callable[[str, int, int, Sequence[str], Family], list[EndpointSpec]]
Answer = tuple[list[EndpointSpec], float | None]
"""Endpoints, and for how many seconds the answer holds (None: it does not say)."""


@dataclass(frozen=True, slots=True)
class DnsConfig:
    services: tuple[str, ...] = ()
    """Names of services (`_kafka._tcp.example.com`, SRV records, with ports and weights), beside the `endpoints`."""
    family: Family = "auto"
    """Which addresses are used. `auto`: all, where they make one endpoint; else IPv4, or IPv6 where there is none."""
    min_ttl: Duration = Duration(1.0)
    """An answer is kept for at least so long."""
    max_ttl: Duration = Duration(300.0)
    """An answer is kept for at most so long."""
    refresh: Duration = Duration(5.0)
    """How long an answer is kept that says no time itself, and the first pause after a look-up that failed."""
    servers: tuple[Address, ...] = ()
    """Name servers to ask (`192.0.2.53:53`) instead of the system's."""

    def __post_init__(self) -> None:
        if self.refresh <= 0:
            raise ValueError("refresh: must be more than 0")
        if not 0 < self.min_ttl <= self.max_ttl:
            raise ValueError("min_ttl: must be more than 0 and at most max_ttl")
        check_servers(self.servers)


def is_literal(address: Address) -> bool:
    """Whether an address needs no look-up."""
    return address.is_unix or is_ip(address.host)


def literal_endpoints(entries: Iterable[EndpointConfig]) -> list[EndpointSpec]:
    """Those of the configured endpoints that need no look-up."""
    return [EndpointSpec.of_address(one.address, weight=one.weight) for one in entries if is_literal(one.address)]


def one_endpoint_each(
    host: str, port: int, weight: int, addresses: Sequence[str], family: Family
) -> list[EndpointSpec]:
    """Every address of a name is an endpoint."""
    if family == "auto":
        family = "ipv4" if any(":" not in one for one in addresses) else "ipv6"
    used = sorted(_of_family(addresses, family))
    return [EndpointSpec.of_address(Address(one, port), hostname=host, weight=weight) for one in used]


def one_endpoint(host: str, port: int, weight: int, addresses: Sequence[str], family: Family) -> list[EndpointSpec]:
    """A name is one endpoint; its addresses are ways to reach it, IPv6 and IPv4 in turn (RFC 8305, section 4)."""
    used = _of_family(addresses, family)
    pairs = zip_longest([one for one in used if ":" in one], [one for one in used if ":" not in one])
    turns = tuple(Address(one, port) for pair in pairs for one in pair if one is not None)
    return [EndpointSpec(str(Address(host, port)), turns, host, weight)] if turns else []


def _of_family(addresses: Sequence[str], family: Family) -> list[str]:
    return [one for one in addresses if family in ("auto", "all", "ipv6" if ":" in one else "ipv4")]


class DnsDiscovery(Discovery[DnsConfig]):
    """Base of those that look up the names in ``endpoints`` and ``services``."""

    def __init__(self, config: DnsConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        if not cluster.endpoints and not config.services:
            raise ValueError(
                'there is nothing to look up: a cluster of this kind needs endpoints = ["host:port"], or services'
            )


class Names:
    """The look-ups of one cluster. ``make`` turns answers into endpoints; ``discovery`` is told how each one went."""

    def __init__(self, config: DnsConfig, make: Make, discovery: Discovery[Any], resolver: Resolver) -> None:
        self._config = config
        self._make = make
        self._discovery = discovery
        self._resolver = resolver

    async def follow(self, entries: Sequence[EndpointConfig], update: Update) -> None:
        """Keep ``update`` informed until cancelled. An answer's endpoints stay when a later look-up fails."""
        literal = literal_endpoints(entries)
        look_ups: dict[str, Callable[[], Awaitable[Answer]]] = {
            str(entry.address): partial(self._look_up_host, entry.address.host, entry.address.port, entry.weight)
            for entry in entries
            if not is_literal(entry.address)
        }
        look_ups |= {name: partial(self._look_up_service, name) for name in self._config.services}
        found: dict[str, list[EndpointSpec] | None] = dict.fromkeys(look_ups)

        def publish() -> None:
            update([*literal, *(spec for specs in found.values() for spec in specs or ())])

        if literal:
            publish()
        async with asyncio.TaskGroup() as group:
            for name, look_up in look_ups.items():
                group.create_task(self._keep(name, look_up, found, publish))

    async def _keep(
        self,
        name: str,
        look_up: Callable[[], Awaitable[Answer]],
        found: dict[str, list[EndpointSpec] | None],
        publish: Callable[[], None],
    ) -> None:
        """Look up one name again and again."""
        config = self._config
        failures = 0
        while True:
            known = found[name]
            try:
                found[name], ttl = await look_up()
                failures = 0
                pause = config.refresh if ttl is None else min(max(ttl, config.min_ttl), config.max_ttl)
                self._discovery.report(about=name)
            except ResolveError as error:
                found[name] = known or []
                failures += 1
                pause = min(config.refresh * 2 ** min(failures - 1, 30), max(config.refresh, config.max_ttl))
                self._discovery.report(str(error), about=name)
            if found[name] != known and (found[name] or None not in found.values()):
                publish()
            await asyncio.sleep(pause * random.uniform(1, 1 + JITTER))

    async def _look_up_host(self, host: str, port: int, weight: int) -> Answer:
        answer = await self._resolver.addresses(host)
        specs = self._make(host.removesuffix("."), port, weight, answer.hosts, self._config.family)
        if not specs:
            raise ResolveError("not_found", f"has no {self._config.family} address")
        return specs, answer.ttl

    async def _look_up_service(self, name: str) -> Answer:
        answer = await self._resolver.services(name)
        best = min(service.priority for service in answer.services)
        meant = [service for service in answer.services if service.priority == best]
        hosts = await asyncio.gather(
            *(self._look_up_host(one.host, one.port, max(1, one.weight)) for one in meant), return_exceptions=True
        )
        found = [result for result in hosts if not isinstance(result, BaseException)]
        if not found:
            raise next(result for result in hosts if isinstance(result, BaseException))
        ttls = [ttl for ttl in (answer.ttl, *(ttl for _, ttl in found)) if ttl is not None]
        return [spec for specs, _ in found for spec in specs], min(ttls, default=None)
