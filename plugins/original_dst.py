"""Original destination: every connection goes where its client wanted to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from l4proxy.address import Address
from l4proxy.config.types import Duration, Range
from l4proxy.discovery import OnDemandDiscovery
from l4proxy.endpoint import EndpointSpec
from l4proxy.hookspecs import Register, hookimpl

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster
    from l4proxy.connect import ConnectRequest

__all__ = ["OriginalDst", "OriginalDstConfig"]


@dataclass(frozen=True, slots=True)
class OriginalDstConfig:
    port: Annotated[int, Range(0, 65535)] = 0
    """Connect to this port of the original address; 0: to the original port."""
    idle_time: Annotated[Duration, Range(0.1)] = Duration(5.0)
    """Endpoints without connections are forgotten, with their statistics, after this time."""


class OriginalDst(OnDemandDiscovery[OriginalDstConfig]):
    """The endpoint is the address that the client connected to before the packet filter brought it here.

    For listeners with ``original_destination`` (a transparent sidecar), or behind a PROXY header that says it.
    """

    name = "original_dst"

    def __init__(self, config: OriginalDstConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        self.idle_time = config.idle_time
        if cluster.endpoints:
            raise ValueError("endpoints: a cluster of this kind has none of its own")

    def find(self, request: ConnectRequest, found: Callable[[EndpointSpec | None], None]) -> None:
        host, port = request.original_destination or ("", 0)
        port = self.config.port or port
        if host and port:
            self.report()
            found(EndpointSpec.of_address(Address(host, port)))
        else:
            self.report("a connection has no original destination")
            found(None)


@hookimpl
def register_discovery(register: Register[type[OriginalDst]]) -> None:
    register(OriginalDst)
