from __future__ import annotations

import errno
import socket

import pytest

from clusters import address, listening, refused
from l4proxy.address import Address
from l4proxy.dial import IP_BIND_ADDRESS_NO_PORT, connect_failure, dial, dialled, lost_detail
from l4proxy.endpoint import Target
from l4proxy.endpoint_set import EndpointRemoved
from l4proxy.errors import UpstreamError


@pytest.mark.parametrize(
    ("code", "flag", "detail"),
    [
        (errno.ECONNREFUSED, "UF", "connect_refused"),
        (errno.ETIMEDOUT, "UF", "connect_timeout"),
        (errno.EADDRNOTAVAIL, "UF", "no_local_port"),
        (errno.ENETUNREACH, "UF", "unreachable"),
        (errno.EHOSTUNREACH, "UF", "unreachable"),
        (errno.ECONNRESET, "UF", "connect_reset"),
        (errno.ENOENT, "UF", "no_such_socket"),
        (errno.EACCES, "UF", "connect_denied"),
        (errno.EMFILE, "UO", "no_file_descriptors"),
        (errno.ENOMEM, "UO", "no_memory"),
        (errno.EPROTOTYPE, "UF", "connect_failed"),
    ],
)
def test_every_failure_has_a_name_and_a_flag(code: int, flag: str, detail: str) -> None:
    error = connect_failure(code)
    assert (error.flag, error.detail, error.errno) == (flag, detail, code)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ConnectionResetError(errno.ECONNRESET, ""), "reset"),
        (BrokenPipeError(errno.EPIPE, ""), "reset"),
        (ConnectionResetError(), "reset"),
        (OSError(errno.ETIMEDOUT, ""), "half_open"),
        (OSError(errno.EHOSTUNREACH, ""), "unreachable"),
        (OSError(errno.EIO, ""), "lost"),
        (EndpointRemoved("gone"), "endpoint_removed"),
    ],
)
def test_every_loss_has_a_name(error: OSError, detail: str) -> None:
    assert lost_detail(error) == detail


def test_on_loopback_a_socket_is_connected_when_dial_returns() -> None:
    with listening() as server:
        sock, connected = dial(Target.of(Address.parse(address(server))))
        assert connected
        assert sock.getpeername() == server.getsockname()
        sock.close()


def test_elsewhere_it_is_asked_again() -> None:
    with listening() as server:
        target = Target.of(Address.parse(address(server)))._replace(loopback=False)
        sock, connected = dial(target)
        assert not connected
        assert [dialled(sock, target), dialled(sock, target)] == [0, 0]
        sock.close()


def test_a_failure_closes_the_socket() -> None:
    with pytest.raises(UpstreamError, match="Connection refused"):
        dial(Target.of(Address.parse(refused())))


def test_a_local_port_is_chosen_when_connecting() -> None:
    with listening() as server:
        sock, _ = dial(Target.of(Address.parse(address(server))), Target.of(Address("127.0.0.3", 0)))
        assert sock.getsockname()[0] == "127.0.0.3"
        assert sock.getsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT) == 1
        sock.close()
