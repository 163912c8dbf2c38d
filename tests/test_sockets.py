"""Listening sockets: families, options that accepted ones inherit, socket files, and errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.address import Address
from l4proxy.config.schema import Keepalive
from l4proxy.config.types import Duration
from l4proxy.sockets import bound_address, change_options, open_listening, original_destination, set_keepalive

OFF = Keepalive(enabled=False)


def options(**changes: Any) -> Any:
    return SimpleNamespace(**{
        "reuse_port": False,
        "transparent": False,
        "original_destination": "off",
        "nodelay": True,
        "keepalive": Keepalive(),
        "backlog": 100,
        "unix_mode": "0660",
        **changes,
    })  # fmt: skip


Open = Callable[..., list[socket.socket]]


@pytest.fixture
def listen() -> Iterator[Open]:
    """Open the sockets of an address; closed when the test is over."""
    with contextlib.ExitStack() as stack:

        def opened(text: str, **changes: Any) -> list[socket.socket]:
            return [stack.enter_context(sock) for sock in open_listening(Address.parse(text), options(**changes))]

        yield opened


def accept(listening: socket.socket) -> socket.socket:
    """A connection to a socket, as it is accepted."""
    with socket.socket(listening.family) as client:
        client.connect(listening.getsockname())
        return listening.accept()[0]


def refusal(text: str, **changes: Any) -> tuple[int, str]:
    """The number and the text of the error that opening an address has to raise."""
    with pytest.raises(OSError, match=re.escape(f"cannot listen on {text}: ")) as refused:
        open_listening(Address.parse(text), options(**changes))
    return refused.value.errno or 0, str(refused.value.strerror)


# TCP


@pytest.mark.parametrize(("text", "family"), [("127.0.0.1:0", socket.AF_INET), ("[::1]:0", socket.AF_INET6)])
def test_an_address(text: str, family: int, listen: Open) -> None:
    (sock,) = listen(text)
    assert sock.family == family
    assert not sock.getblocking()
    assert not sock.get_inheritable()
    host = text.rpartition(":")[0]
    assert str(bound_address(sock)) == f"{host}:{sock.getsockname()[1]}"
    accept(sock).close()


def test_every_interface_means_both_families_on_one_port(listen: Open) -> None:
    four, six = listen(":0")
    assert (four.family, six.family) == (socket.AF_INET, socket.AF_INET6)
    assert four.getsockname()[1] == six.getsockname()[1] != 0
    assert [str(bound_address(sock)).rpartition(":")[0] for sock in (four, six)] == ["0.0.0.0", "[::]"]


def test_without_ipv6_every_interface_is_all_of_ipv4(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def no_ipv6(family: int = -1, *rest: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "not here")
        return real(family, *rest)

    monkeypatch.setattr(socket, "socket", no_ipv6)
    (sock,) = listen(":0")
    assert sock.family == socket.AF_INET


def resolving_to(*addresses: tuple[int, tuple[Any, ...]]) -> Callable[..., list[tuple[Any, ...]]]:
    return lambda *_args, **_options: [(family, socket.SOCK_STREAM, 6, "", name) for family, name in addresses]


def test_a_name_means_all_its_addresses_once(listen: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    four = (socket.AF_INET, ("127.0.0.1", 0))
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to(four, (socket.AF_INET6, ("::1", 0, 0, 0)), four))
    first, second = listen("db.test:0")
    assert first.getsockname() == ("127.0.0.1", second.getsockname()[1])
    assert second.getsockname()[0] == "::1"


def test_a_link_local_address_keeps_its_scope(listen: Open) -> None:
    fields = (line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines())
    host = next(
        (socket.inet_ntop(socket.AF_INET6, bytes.fromhex(f[0])) + f"%{f[5]}" for f in fields if f[3] == "20"), ""
    )
    if not host:
        pytest.skip("this machine has no link-local address")
    (sock,) = listen(f"[{host}]:0")
    assert sock.getsockname()[3] == socket.if_nametoindex(host.partition("%")[2])


def test_reuse_port_lets_others_listen_beside(listen: Open) -> None:
    (first,) = listen("127.0.0.1:0", reuse_port=True)
    text = str(bound_address(first))
    listen(text, reuse_port=True)
    assert refusal(text)[0] == errno.EADDRINUSE


def test_accepted_connections_inherit_the_options(listen: Open) -> None:
    (sock,) = listen("127.0.0.1:0", keepalive=Keepalive(True, Duration(77), Duration(0.2), 5))
    with accept(sock) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        asked = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [connection.getsockopt(socket.IPPROTO_TCP, option) for option in asked] == [77, 1, 5]


def test_options_that_are_off_are_off(listen: Open) -> None:
    (sock,) = listen("127.0.0.1:0", nodelay=False, keepalive=OFF)
    with accept(sock) as connection:
        assert not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_keepalive_of_a_connection() -> None:
    with socket.socket() as sock:
        set_keepalive(sock, OFF)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        set_keepalive(sock, Keepalive())
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


# Errors


def test_an_address_in_use_says_how_to_find_who_uses_it(listen: Open) -> None:
    (sock,) = listen("127.0.0.1:0")
    text = str(bound_address(sock))
    port = sock.getsockname()[1]
    assert refusal(text)[1].endswith(f"Another process listens there (see: ss -ltnp 'sport = :{port}')")


def test_an_address_of_another_machine() -> None:
    assert refusal("198.51.100.7:0")[1].endswith("This machine has no such address")


@pytest.mark.parametrize("text", ["nowhere.invalid:0", "a..b:0", "x" * 64 + ".test:0"])
def test_a_name_that_means_nothing(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "invalid" in text:
        error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: (_ for _ in ()).throw(error))
        assert refusal(text)[1].endswith("Name or service not known")
    else:
        assert refusal(text)[1].endswith("is not a host name")


@pytest.mark.parametrize(
    ("code", "text", "advice"),
    [
        (errno.EACCES, "127.0.0.1:80", "Ports below 1024 need root or CAP_NET_BIND_SERVICE"),
        (errno.EACCES, "127.0.0.1:8080", "Permission denied"),
        (errno.EPERM, "127.0.0.1:8080", "A transparent listener needs root or CAP_NET_ADMIN"),
    ],
)
def test_what_is_not_permitted(code: int, text: str, advice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden(socket.socket):
        def bind(self, _name: Any) -> None:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket, "socket", Forbidden)
    number, said = refusal(text)
    assert number == code
    assert said.endswith(advice)


def test_an_error_at_one_address_closes_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = (socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("198.51.100.7", 0))
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to(*addresses))
    before = set(os.listdir("/proc/self/fd"))
    refusal("db.test:0")
    assert set(os.listdir("/proc/self/fd")) == before


# Unix sockets


@pytest.mark.parametrize("mode", ["0660", "0600", "0777"])
def test_a_socket_file_has_the_mode_that_was_asked_for(mode: str, tmp_path: Path, listen: Open) -> None:
    path = tmp_path / "s"
    umask = os.umask(0o077)
    try:
        (sock,) = listen(f"unix:{path}", unix_mode=mode)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    assert str(bound_address(sock)) == f"unix:{path}"
    accept(sock).close()


def test_an_abstract_socket_has_no_file(listen: Open) -> None:
    name = f"@l4proxy-test-{os.getpid()}"
    (sock,) = listen(f"unix:{name}")
    assert str(bound_address(sock)) == f"unix:{name}"
    assert not Path(name).exists()
    assert refusal(f"unix:{name}")[1].endswith("Another process listens there")


def test_a_name_need_not_be_text(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(b"\0l4proxy-test-\xff%d" % os.getpid())
        address = bound_address(sock)
        assert address.path == f"@l4proxy-test-\udcff{os.getpid()}"
        assert Address.parse(str(address)) == address


def test_a_file_that_nobody_listens_on_any_more_is_replaced(tmp_path: Path, listen: Open) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (sock,) = listen(f"unix:{path}")
    accept(sock).close()


@pytest.mark.parametrize("backlog", [5, 0])
def test_a_file_that_somebody_listens_on_is_left_alone(backlog: int, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with contextlib.ExitStack() as stack:
        alive = stack.enter_context(socket.socket(socket.AF_UNIX))
        alive.bind(str(path))
        alive.listen(backlog)
        if not backlog:  # its queue is full: who asks waits, unless asking without waiting
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        assert refusal(f"unix:{path}")[0] == errno.EADDRINUSE
        assert path.is_socket()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir], ids=["file", "directory"])
def test_what_is_no_socket_is_left_alone(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "s")
    assert refusal(f"unix:{tmp_path / 's'}")[1].endswith("a file that is no socket stands there")
    assert (tmp_path / "s").exists()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert refusal(f"unix:{tmp_path / 'no' / 's'}")[0] == errno.ENOENT


# Redirected connections


def test_the_original_destination_of_tproxy_is_the_local_address(listen: Open) -> None:
    (sock,) = listen("127.0.0.1:0")
    with accept(sock) as connection:
        assert original_destination(connection, "tproxy") == sock.getsockname()


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0"])
def test_a_connection_that_was_not_redirected_has_none(text: str, listen: Open) -> None:
    (sock,) = listen(text)
    with accept(sock) as connection, pytest.raises(OSError, match=r".*"):
        original_destination(connection, "redirect")


@pytest.mark.parametrize(
    ("family", "raw"),
    [
        (socket.AF_INET, bytes.fromhex("0200 0050 c0000205") + bytes(8)),
        (socket.AF_INET6, bytes.fromhex("0a00 0050 00000000 20010db8000000000000000000000001") + bytes(4)),
    ],
)
def test_what_netfilter_remembers(family: int, raw: bytes) -> None:
    redirected: Any = SimpleNamespace(family=family, getsockopt=lambda _level, _option, size: raw[:size])
    host = "192.0.2.5" if family == socket.AF_INET else "2001:db8::1"
    assert original_destination(redirected, "redirect") == (host, 80)


def test_options_of_a_socket_that_is_there_are_changed(listen: Open) -> None:
    (sock,) = listen("127.0.0.1:0", keepalive=Keepalive(user_timeout=Duration(7.5)))
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500
    change_options(sock, options(nodelay=False, keepalive=OFF))
    with accept(sock) as connection:
        assert not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    change_options(sock, options(keepalive=Keepalive(idle=Duration(5.0))))
    with accept(sock) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
