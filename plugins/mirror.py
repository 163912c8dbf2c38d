"""``mirror``: a copy of what clients send, for another cluster."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy import CloseReason, Filter, Register, UpstreamError, hookimpl
from l4proxy.config.types import ClusterName, Percent, Range, Size
from l4proxy.connect import ConnectRequest
from l4proxy.plugins.mirror_copy import Copies, Copy

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["Mirror", "MirrorConfig"]


@dataclass(frozen=True, slots=True)
class MirrorConfig:
    cluster: ClusterName
    """Where the copies go."""
    percent: Percent = Percent(100.0)
    """Share of connections that are copied."""
    buffer_limit: Annotated[Size, Range(1024)] = Size(1 << 20)
    """Bytes of one connection that may wait for the other cluster. When there are more, its copy is given up."""


class Mirror(Filter[MirrorConfig]):
    """Send a copy of what clients send to another cluster too, and drop its answers.

    To try a new version with real traffic:

        { use = "mirror", cluster = "next_version", percent = 10 }

    The original never waits for the copy and does not notice what becomes of it: a copy that cannot be connected,
    breaks off or falls behind by more than `buffer_limit` is given up and counted. Whole connections are copied, from
    their first byte on, so that the other side understands the protocol. What filters before this one change or hold
    back is copied as they let it pass.
    """

    name = "mirror"
    observer = True
    shared: Copies

    def __init__(self) -> None:
        self._copy: Copy | None = None

    @classmethod
    def provision(cls, config: MirrorConfig, server: Server) -> Copies:
        return Copies(config.cluster, config.buffer_limit, server)

    @classmethod
    def cleanup(cls, shared: Copies) -> None:
        for copy in list(shared.active):
            copy.close()

    def on_connect(self) -> None:
        conn, copies = self.conn, self.shared
        if random.random() * 100 >= self.config.percent:
            conn.detach()
            return
        try:
            cluster = copies.clusters.find(self.config.cluster)
        except UpstreamError as error:
            copies.stats.given_up_total.add(error.detail)
            conn.detach()
            return
        self._copy = Copy(copies, on_given_up=conn.detach)
        self._copy.start(cluster, ConnectRequest(original_destination=conn.destination, server_name=conn.server_name))

    def on_client_data(self, data: bytes) -> None:
        if self._copy is not None:
            self._copy.send(data)

    def on_client_eof(self) -> None:
        if self._copy is not None:
            self._copy.end()

    def on_close(self, reason: CloseReason) -> None:
        if self._copy is not None:
            self._copy.finish(reset=reason.who == "client" and reason.detail == "reset")


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(Mirror)
