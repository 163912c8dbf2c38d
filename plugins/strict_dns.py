"""Strict DNS: every address of every name is an endpoint."""

from __future__ import annotations

from l4proxy.discovery import Update
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.plugins.names import DnsDiscovery, Names, one_endpoint_each

__all__ = ["StrictDns"]


class StrictDns(DnsDiscovery):
    """Every address of every name in ``endpoints`` and ``services`` is an endpoint of its own: for names that stand for
    many servers, as a headless service of Kubernetes does.

    An address that is gone from the answer is removed, and its connections drain.
    """

    name = "strict_dns"

    async def run(self, update: Update) -> None:
        names = Names(self.config, one_endpoint_each, self, DnsResolver(self.config.servers))
        await names.follow(self.cluster.endpoints, update)


@hookimpl
def register_discovery(register: Register[type[StrictDns]]) -> None:
    register(StrictDns)
