"""Listening sockets: opened from an address and its options, with errors that say what to do.

Options that every accepted connection shall have (``TCP_NODELAY``, keep-alive) are set on the listening socket: Linux
hands them down, which saves the system calls per connection.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from l4proxy.address import Address

if TYPE_CHECKING:
    from l4proxy.config.schema import Keepalive

__all__ = [
    "SocketOptions",
    "bound_address",
    "change_options",
    "open_listening",
    "original_destination",
    "set_keepalive",
]

IP_TRANSPARENT = 19
IPV6_TRANSPARENT = 75
SO_ORIGINAL_DST = 80


class SocketOptions(Protocol):
    """What can be chosen of a listening socket; the configuration of a listener is one."""

    @property
    def reuse_port(self) -> bool: ...
    @property
    def transparent(self) -> bool: ...
    @property
    def original_destination(self) -> str: ...
    @property
    def nodelay(self) -> bool: ...
    @property
    def keepalive(self) -> Keepalive: ...
    @property
    def backlog(self) -> int: ...
    @property
    def unix_mode(self) -> str: ...


def open_listening(address: Address, config: SocketOptions) -> list[socket.socket]:
    """Bind and listen; more than one socket where a name has several addresses, or ``:port`` means IPv4 and IPv6.

    Raises OSError whose text tells what to do about it.
    """
    if address.is_unix:
        return [_listen(_open_unix(address, config), config)]
    opened: list[socket.socket] = []
    port = address.port
    try:
        for family, host in _resolve(address):
            opened.append(_open_tcp(family, (host[0], port, *host[2:]), config))
            port = port or opened[0].getsockname()[1]
        return [_listen(sock, config) for sock in opened]
    except OSError as error:
        for sock in opened:
            sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {_advice(error, address)}") from None


def _resolve(address: Address) -> Sequence[tuple[int, tuple[Any, ...]]]:
    """Families, and names of sockets as the ``socket`` module has them: host, port, and for IPv6 flow and scope."""
    if not address.host:
        both = [(socket.AF_INET, ("0.0.0.0", 0)), (socket.AF_INET6, ("::", 0))]
        return both if _has_ipv6() else both[:1]
    try:
        found = socket.getaddrinfo(address.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:
        raise OSError(errno.EINVAL, f"{address.host!r} is not a host name") from None
    return list(dict.fromkeys((family, name) for family, _type, _proto, _canon, name in found))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::", 0))
    except OSError:
        return False
    return True


def _open_tcp(family: int, name: tuple[Any, ...], config: SocketOptions) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if config.reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if config.transparent or config.original_destination == "tproxy":
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def set_keepalive(sock: socket.socket, keepalive: Keepalive) -> None:
    """For a connected TCP socket, or a new listening one."""
    if keepalive.enabled:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(1, round(keepalive.idle)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, round(keepalive.interval)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, keepalive.count)
    if keepalive.user_timeout:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(keepalive.user_timeout * 1000))


def _open_unix(address: Address, config: SocketOptions) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if address.path.startswith("@"):
            sock.bind("\0" + address.path[1:])
            return sock
        _remove_stale(address.path)
        umask = os.umask(0o177)  # nobody may connect before the mode is set
        try:
            sock.bind(address.path)
        finally:
            os.umask(umask)
        os.chmod(address.path, int(config.unix_mode, 8))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {_advice(error, address)}") from None
    return sock


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on any more; leave everything else alone."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket stands there")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        except BlockingIOError:  # somebody listens, and is behind with accepting
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _listen(sock: socket.socket, config: SocketOptions) -> socket.socket:
    if sock.family != socket.AF_UNIX and config.nodelay:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if sock.family != socket.AF_UNIX:
        set_keepalive(sock, config.keepalive)
    sock.listen(config.backlog)
    sock.setblocking(False)
    return sock


def change_options(sock: socket.socket, config: SocketOptions) -> None:
    """Set what can be changed on a listening socket that somebody else has opened, or another configuration."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, config.nodelay)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, config.keepalive.enabled)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)
    _listen(sock, config)


def _advice(error: OSError, address: Address) -> str:
    text = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{text}. Another process listens there" + (
            "" if address.is_unix else f" (see: ss -ltnp 'sport = :{address.port}')"
        )
    if error.errno == errno.EACCES and address.port and address.port < 1024:
        return f"{text}. Ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{text}. This machine has no such address"
    if error.errno == errno.EPERM:
        return f"{text}. A transparent listener needs root or CAP_NET_ADMIN"
    return text


def bound_address(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if isinstance(name, tuple):
        return Address(str(name[0]), int(name[1]))
    text = os.fsdecode(name)
    return Address(path="@" + text[1:] if text.startswith("\0") else text)


def original_destination(sock: socket.socket, mode: str) -> tuple[str, int]:
    """Where a redirected connection was going. ``tproxy``: its own local address; ``redirect``: what netfilter
    remembers.

    Raises OSError when the connection was not redirected.
    """
    if mode == "tproxy":
        name = sock.getsockname()
        return str(name[0]), int(name[1])
    if sock.family == socket.AF_INET6:
        raw = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        port, packed = struct.unpack_from("!2xH4x16s", raw)
        return socket.inet_ntop(socket.AF_INET6, packed), port
    raw = sock.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
    port, packed = struct.unpack_from("!2xH4s", raw)
    return socket.inet_ntop(socket.AF_INET, packed), port
