"""A filter with options, state, and a question that takes time: the connection waits, and no other one does."""

import asyncio
from dataclasses import dataclass
from typing import Any

from l4proxy import CloseReason, ConfigError, Conn, Filter, Peer
from l4proxy.config.types import Duration
from l4proxy.testing import harness


@dataclass(frozen=True, slots=True)
class GateConfig:
    token: str
    """What a client has to send first."""
    delay: Duration = Duration(0.0)
    """How long clients wait before they may send."""

    def __post_init__(self) -> None:
        if not self.token:
            raise ValueError("token: must not be empty")


class Gate(Filter[GateConfig]):
    """Let only those in who know the token."""

    name = "gate"
    conn: Conn

    async def on_connect(self) -> None:
        self.received: bytes | None = b""
        self.host = self.conn.client.host
        await asyncio.sleep(self.config.delay)

    def on_client_data(self, data: bytes) -> bytes | None:
        if self.received is None:
            return data
        self.received += data
        token = self.config.token.encode()
        if len(self.received) < len(token):
            return None  # more has to come
        if not self.received.startswith(token):
            self.conn.send_client(b"no\n")
            self.conn.close("wrong_token")
            return None
        rest, self.received = self.received[len(token) :], None
        return rest

    def on_close(self, reason: CloseReason) -> None:
        self.conn.state["gate:let_in"] = self.received is None


def refusal(**options: Any) -> str:
    try:
        harness(Gate, **options)
    except ConfigError as error:
        return str(error)
    return ""


def main() -> None:
    h = harness(Gate, token="secret", delay="1s")
    h.client.send(b"sec")
    h.client.send(b"ret, and more")
    assert h.upstream.received == b""
    h.advance(seconds=1)
    assert h.upstream.received == b", and more"

    h = harness(Gate, token="secret")
    h.client.send(b"public")
    assert h.client.received == b"no\n"
    assert h.closed is not None
    assert (h.closed.who, h.closed.detail, h.closed.filter) == ("filter", "wrong_token", "gate")
    assert str(Peer("198.51.100.1", 4711)) == "198.51.100.1:4711"

    assert refusal(token="") == "gate.token: must not be empty"
    assert refusal(tokn="x").startswith("gate.tokn: unknown key (did you mean 'token'?)")


if __name__ == "__main__":
    main()
