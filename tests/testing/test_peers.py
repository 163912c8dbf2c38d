"""The two peers of a proxy in a test, here without the proxy between them."""

from __future__ import annotations

import socket

import pytest

from l4proxy.testing import SocketEnd, Upstream, echo


def connect(upstream: Upstream) -> SocketEnd:
    return SocketEnd(socket.create_connection(upstream.address))


def test_an_echo_answers_until_the_end() -> None:
    upstream = Upstream(echo)
    with connect(upstream) as client:
        client.send(b"ab", b"c")
        assert client.receive(3) == b"abc"
        client.send(b"d")
        client.eof()
        assert client.receive_all() == b"d"
    upstream.close()
    assert not upstream.errors


def test_receive_returns_less_when_the_other_end_ends() -> None:
    upstream = Upstream(lambda end: end.send(b"ab"))
    with connect(upstream) as client:
        assert client.receive(10) == b"ab"
    upstream.close()


def test_a_reset_is_seen_by_the_other_end() -> None:
    upstream = Upstream(lambda end: end.reset())
    with connect(upstream) as client, pytest.raises(ConnectionResetError):
        client.receive_all()
    upstream.close()
    assert not upstream.errors


def test_a_client_that_resets_is_no_error_of_the_handler() -> None:
    upstream = Upstream(echo)
    connect(upstream).reset()
    upstream.close()
    assert not upstream.errors


@pytest.mark.parametrize("error", [TimeoutError, ValueError])
def test_what_a_handler_raises_is_reported(error: type[Exception]) -> None:
    def fails(_: SocketEnd) -> None:
        raise error

    upstream = Upstream(fails)
    with connect(upstream) as client:
        assert client.receive_all() == b""
    upstream.close()
    assert error.__name__ in upstream.errors[0]


def test_closing_ends_handlers_that_wait() -> None:
    upstream = Upstream(echo)
    with connect(upstream) as client:
        client.send(b"x")
        assert client.receive(1) == b"x"
        upstream.close()
        assert client.receive_all() == b""
