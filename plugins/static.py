"""Static: the endpoints are those written in the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from l4proxy.discovery import Discovery, Update
from l4proxy.endpoint import EndpointSpec
from l4proxy.filter import NoConfig
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.names import is_literal, literal_endpoints

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster

__all__ = ["Static"]


class Static(Discovery[NoConfig]):
    """The endpoints are those of the cluster's ``endpoints``.

    A host name among them is one endpoint, whose addresses are looked up, and looked up again, as ``logical_dns`` does
    with its default options.
    """

    name = "static"

    def __init__(self, config: NoConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        if not cluster.endpoints:
            raise ValueError('a static cluster needs endpoints, such as endpoints = ["127.0.0.1:8080"]')
        self._has_names = not all(is_literal(one.address) for one in cluster.endpoints)

    def initial(self) -> Sequence[EndpointSpec] | None:
        return None if self._has_names else literal_endpoints(self.cluster.endpoints)

    async def run(self, update: Update) -> None:
        if self._has_names:
            from l4proxy.plugins.dns_resolver import DnsResolver
            from l4proxy.plugins.names import DnsConfig, Names, one_endpoint

            await Names(DnsConfig(), one_endpoint, self, DnsResolver()).follow(self.cluster.endpoints, update)


@hookimpl
def register_discovery(register: Register[type[Static]]) -> None:
    register(Static)
