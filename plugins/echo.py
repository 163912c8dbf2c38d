"""``echo``: send everything back to the client. For trying a listener, its TLS and its filters without an upstream."""

from __future__ import annotations

from typing import Any

from l4proxy import CloseReason, Filter, NoConfig, Register, Side, hookimpl

__all__ = ["Echo"]


class Echo(Filter[NoConfig]):
    """Send everything back to the client.

    A client that does not read what it is sent is no longer read.
    """

    name = "echo"
    terminal = True

    def on_client_data(self, data: bytes) -> None:
        self.conn.send_client(data)

    def on_client_eof(self) -> None:
        self.conn.finish(CloseReason("client", "relay", "eof"))

    def on_writable(self, side: Side, writable: bool) -> None:
        if side is Side.CLIENT:
            if writable:
                self.conn.resume(Side.CLIENT)
            else:
                self.conn.pause(Side.CLIENT)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(Echo)
