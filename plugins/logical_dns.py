"""Logical DNS: a name is one endpoint, whatever its addresses are at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.discovery import Discovery, Update
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.names import DnsConfig, Names, one_endpoint

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster

__all__ = ["LogicalDns"]


class LogicalDns(Discovery[DnsConfig]):
    """A name in ``endpoints`` or ``services`` is one endpoint: for names of large services, whose answer is a few of
    many addresses and another one each time.

    New connections go to the first address of the latest answer, and to the next ones where it does not accept (RFC
    8305). Connections to addresses of older answers go on.
    """

    name = "logical_dns"

    def __init__(self, config: DnsConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        if not cluster.endpoints and not config.services:
            raise ValueError(
                'there is nothing to look up: a cluster of this kind needs endpoints = ["host:port"], or services'
            )

    async def run(self, update: Update) -> None:
        names = Names(self.config, one_endpoint, self, DnsResolver(self.config.servers))
        await names.follow(self.cluster.endpoints, update)


@hookimpl
def register_discovery(register: Register[type[LogicalDns]]) -> None:
    register(LogicalDns)
