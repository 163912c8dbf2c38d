"""Listening sockets on their way to another process."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator

import pytest

from l4proxy import handoff
from l4proxy.handoff import (
    CONFIGURATION,
    SOCKETS,
    configuration_for_child,
    configuration_from_environment,
    receive_sockets,
    send_sockets,
    sockets_for_child,
    sockets_from_environment,
)

Channel = tuple[socket.socket, socket.socket]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def channel() -> Iterator[Channel]:
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    other.setblocking(False)
    with one, other:
        yield one, other


def check_adopted(sock: socket.socket, original: socket.socket) -> None:
    """It is the same socket behind another descriptor, ready for our use."""
    with sock:
        assert sock.getsockname() == original.getsockname()
        assert sock.fileno() != original.fileno()
        assert not sock.getblocking()
        assert not sock.get_inheritable()


def test_a_child_finds_its_sockets_by_address(listening: socket.socket) -> None:
    sent = [listening.dup(), listening.dup()]
    text, numbers = sockets_for_child({":80": sent, "unix:@x": []})
    assert numbers == [sock.fileno() for sock in sent]
    found = sockets_from_environment({SOCKETS: text})
    for sock in sent:
        sock.detach()
    assert list(found) == [":80", "unix:@x"]
    for sock in found[":80"]:
        check_adopted(sock, listening)


def test_the_variables_are_removed_for_they_are_not_for_our_children(listening: socket.socket) -> None:
    environ = {SOCKETS: "{}", "LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web", "HOME": "/"}
    assert sockets_from_environment(environ) == {}
    assert environ == {"HOME": "/"}


def activated(first: int, count: int, monkeypatch: pytest.MonkeyPatch) -> handoff.Sockets:
    """What a process finds that systemd started with descriptors from ``first`` on."""
    monkeypatch.setattr(handoff, "LISTEN_FDS_START", first)
    return sockets_from_environment({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)})


def test_sockets_from_systemd_are_known_by_what_they_are_bound_to(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = listening.getsockname()
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0l4proxy-test-{os.getpid()}")
        first = os.dup2(listening.fileno(), 900)
        os.dup2(unix.fileno(), 901)
        found = activated(first, 2, monkeypatch)
        assert list(found) == [f"{host}:{port}", f"unix:@l4proxy-test-{os.getpid()}"]
        for (sock,), original in zip(found.values(), (listening, unix), strict=True):
            check_adopted(sock, original)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "[::]")])
def test_a_socket_on_every_interface_is_known_by_its_port_as_well(
    family: int, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(family) as sock:
        sock.bind(("", 0))
        port = sock.getsockname()[1]
        found = activated(os.dup(sock.fileno()), 1, monkeypatch)
        assert list(found) == [f"{host}:{port}", f":{port}"]
        assert found[f"{host}:{port}"] == found[f":{port}"]
        check_adopted(found[f":{port}"][0], sock)


def receive(channel: Channel) -> handoff.Sockets:
    return asyncio.run(receive_sockets(channel[1]))


def test_sockets_over_a_channel(listening: socket.socket, channel: Channel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as second:
        send_sockets(channel[0], {":80": [listening, second], "unix:/é": [second]})
        send_sockets(channel[0], {":80": [second]})
        found = receive(channel)
        assert list(found) == [":80", "unix:/é"]
        for sock, original in zip(found[":80"] + found["unix:/é"], (listening, second, second), strict=True):
            check_adopted(sock, original)
        check_adopted(receive(channel)[":80"][0], second)


def test_more_sockets_than_a_channel_holds(listening: socket.socket, channel: Channel) -> None:
    many = {f"127.0.0.1:{1000 + at} {'x' * 100}": [listening] for at in range(5000)}
    sender = threading.Thread(target=send_sockets, args=(channel[0], many), daemon=True)
    sender.start()
    found = receive(channel)
    sender.join(30)
    assert list(found) == list(many)
    for (sock,) in found.values():
        sock.close()


def test_sockets_may_come_later_than_they_are_waited_for(channel: Channel) -> None:
    async def run() -> handoff.Sockets:
        asyncio.get_running_loop().call_later(0.01, send_sockets, channel[0], {})
        return await receive_sockets(channel[1])

    assert asyncio.run(run()) == {}


def test_a_sender_that_is_gone_is_an_error(channel: Channel) -> None:
    channel[0].close()
    with pytest.raises(ConnectionError):
        receive(channel)


def test_a_configuration_for_a_child() -> None:
    text = "é" * 100_000
    environ = {CONFIGURATION: str(configuration_for_child(text))}
    assert configuration_from_environment(environ) == text
    assert environ == {}
    assert configuration_from_environment(environ) is None
