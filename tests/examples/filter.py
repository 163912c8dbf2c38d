"""A filter without options: it sees the bytes on their way, and returns those that go on."""

from l4proxy import Filter, NoConfig
from l4proxy.testing import harness


class Shout(Filter[NoConfig]):
    """Upper-case everything the client sends."""

    name = "shout"

    def on_client_data(self, data: bytes) -> bytes | None:
        return data.upper()


def main() -> None:
    h = harness(Shout)
    h.client.send(b"hello")
    h.upstream.send(b"you need not shout")
    assert h.upstream.received == b"HELLO"
    assert h.client.received == b"you need not shout"


if __name__ == "__main__":
    main()
