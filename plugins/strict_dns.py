"""Strict DNS: every address of every name is an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.discovery import Discovery, Update
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.names import DnsConfig, Names, one_endpoint_each

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster

__all__ = ["StrictDns"]


class StrictDns(Discovery[DnsConfig]):
    """Every address of every name in ``endpoints`` and ``services`` is an endpoint of its own: for names that stand for
    many servers, as a headless service of Kubernetes does.

    An address that is gone from the answer is removed, and its connections drain.
    """

    name = "strict_dns"

    def __init__(self, config: DnsConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        if not cluster.endpoints and not config.services:
            raise ValueError(
                'there is nothing to look up: a cluster of this kind needs endpoints = ["host:port"], or services'
            )

    async def run(self, update: Update) -> None:
        names = Names(self.config, one_endpoint_each, self, DnsResolver(self.config.servers))
        await names.follow(self.cluster.endpoints, update)


@hookimpl
def register_discovery(register: Register[type[StrictDns]]) -> None:
    register(StrictDns)
