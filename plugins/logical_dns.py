"""Logical DNS: a name is one endpoint, whatever its addresses are at the moment."""

from __future__ import annotations

from l4proxy.discovery import Update
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.names import DnsDiscovery, Names, one_endpoint

__all__ = ["LogicalDns"]


class LogicalDns(DnsDiscovery):
    """A name in ``endpoints`` or ``services`` is one endpoint: for names of large services, whose answer is a few of
    many addresses and another one each time.

    New connections go to the first address of the latest answer, and to the next ones where it does not accept (RFC
    8305). Connections to addresses of older answers go on.
    """

    name = "logical_dns"

    async def run(self, update: Update) -> None:
        names = Names(self.config, one_endpoint, self, DnsResolver(self.config.servers))
        await names.follow(self.cluster.endpoints, update)


@hookimpl
def register_discovery(register: Register[type[LogicalDns]]) -> None:
    register(LogicalDns)
