from l4proxy_shout import Shout

from l4proxy.testing import StartProxy, check_filter, harness


def test_what_the_client_sends_is_upper_case() -> None:
    h = harness(Shout)
    h.client.send(b"hel", b"lo")
    assert h.upstream.received == b"HELLO"


def test_what_the_upstream_sends_is_left_alone() -> None:
    h = harness(Shout)
    h.upstream.send(b"hello")
    assert h.client.received == b"hello"


def test_the_same_comes_out_however_the_bytes_arrive() -> None:
    check_filter(Shout, client=[b"hello"], upstream=[b"hi"], expect_upstream=b"HELLO", expect_client=b"hi")


def test_a_real_proxy_in_front_of_an_echo(proxy: StartProxy) -> None:
    with proxy(Shout).connect() as client:
        client.send(b"hello")
        assert client.receive(5) == b"HELLO"
