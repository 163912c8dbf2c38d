"""Holding one direction back: what comes from that side waits, in order and bounded, until it may go on."""

from l4proxy import Filter, NoConfig, Side
from l4proxy.testing import harness


class Pace(Filter[NoConfig]):
    """Let one chunk a second pass from the client."""

    name = "pace"

    def on_client_data(self, data: bytes) -> bytes | None:
        self.conn.pause(Side.CLIENT)
        self.conn.call_later(1.0, lambda: self.conn.resume(Side.CLIENT))
        return data


def main() -> None:
    h = harness(Pace)
    h.client.send(b"one ", b"two ")
    h.upstream.send(b"as it comes")
    assert h.upstream.received == b"one "
    assert h.client.received == b"as it comes"
    h.advance(seconds=2)
    assert h.upstream.received == b"one two "


if __name__ == "__main__":
    main()
