from l4proxy_shout import Shout

from l4proxy.testing import harness


def test_what_the_client_sends_is_upper_case() -> None:
    h = harness(Shout)
    h.client.send(b"hel", b"lo")
    assert h.upstream.received == b"HELLO"


def test_what_the_upstream_sends_is_left_alone() -> None:
    h = harness(Shout)
    h.upstream.send(b"hello")
    assert h.client.received == b"hello"
