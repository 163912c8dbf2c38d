"""One socket on its way to one address, and the names of all that can go wrong with it."""

from __future__ import annotations

import os
import socket
from errno import (
    EACCES,
    EADDRNOTAVAIL,
    EAGAIN,
    EALREADY,
    ECONNABORTED,
    ECONNREFUSED,
    ECONNRESET,
    EHOSTDOWN,
    EHOSTUNREACH,
    EINPROGRESS,
    EISCONN,
    EMFILE,
    ENETDOWN,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOENT,
    ENOMEM,
    EPERM,
    EPIPE,
    ETIMEDOUT,
)
from typing import TYPE_CHECKING

from l4proxy.endpoint_set import EndpointRemoved
from l4proxy.errors import UpstreamError

if TYPE_CHECKING:
    from l4proxy.endpoint import Target

__all__ = ["connect_failure", "dial", "dialled", "lost_detail"]

IP_BIND_ADDRESS_NO_PORT = 24

_CONNECT_DETAILS = {
    ECONNREFUSED: "connect_refused",
    ETIMEDOUT: "connect_timeout",
    EADDRNOTAVAIL: "no_local_port",
    ENETUNREACH: "unreachable",
    EHOSTUNREACH: "unreachable",
    ENETDOWN: "unreachable",
    EHOSTDOWN: "unreachable",
    ECONNRESET: "connect_reset",
    ECONNABORTED: "connect_reset",
    ENOENT: "no_such_socket",
    EACCES: "connect_denied",
    EPERM: "connect_denied",
    EMFILE: "no_file_descriptors",
    ENFILE: "no_file_descriptors",
    ENOBUFS: "no_memory",
    ENOMEM: "no_memory",
}
_LOST_DETAILS = {
    ECONNRESET: "reset",
    EPIPE: "reset",
    ECONNABORTED: "reset",
    ETIMEDOUT: "half_open",
    ENETUNREACH: "unreachable",
    EHOSTUNREACH: "unreachable",
    ENETDOWN: "unreachable",
    EHOSTDOWN: "unreachable",
}
_OWN_LIMITS = {EMFILE, ENFILE, ENOBUFS, ENOMEM}
"""This process or machine has run out of something: no other endpoint would do better."""


def dial(target: Target, source: Target | None = None) -> tuple[socket.socket, bool]:
    """Begin to connect. Returns the nonblocking socket, and whether it is connected already.

    Raises UpstreamError, and BlockingIOError where a unix socket's queue is full: then try again in a moment.
    """
    try:
        sock = socket.socket(target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise connect_failure(error.errno or 0) from None
    try:
        if source is not None:
            _bind(sock, source)
        code = sock.connect_ex(target.sockaddr)
        if code == EINPROGRESS and target.loopback:
            code = dialled(sock, target)  # on loopback the handshake is over when connect() returns
        if code == 0:
            return sock, True
        if code == EINPROGRESS:
            return sock, False
        if code == EAGAIN:
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
        raise connect_failure(code)
    except BaseException:
        sock.close()
        raise


def dialled(sock: socket.socket, target: Target) -> int:
    """What has become of a connect: 0 (connected), EINPROGRESS, or the number of what went wrong.

    Asks with ``connect`` and not with ``SO_ERROR``, which has no error as long as nothing has happened.
    """
    code = sock.connect_ex(target.sockaddr)
    if code == EISCONN:
        return 0
    return EINPROGRESS if code == EALREADY else code


def _bind(sock: socket.socket, source: Target) -> None:
    """Connect from this address. The port is chosen when connecting, so that one can serve many endpoints."""
    try:
        if source.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind(source.sockaddr)
    except OSError as error:
        text = f"cannot connect from {source.sockaddr}: {error.strerror or error}"
        raise UpstreamError("UF", "bind_failed", text, error.errno or 0) from None


def connect_failure(code: int) -> UpstreamError:
    """What a failed connect is called. ``UO`` where it is the proxy's own limit, else ``UF``."""
    detail = _CONNECT_DETAILS.get(code, "connect_failed")
    return UpstreamError("UO" if code in _OWN_LIMITS else "UF", detail, os.strerror(code), code)


def lost_detail(error: OSError) -> str:
    """What the loss of an established connection is called. ``half_open``: the other end is gone without a word, which
    keep-alive or unanswered data has shown."""
    if isinstance(error, EndpointRemoved):
        return "endpoint_removed"
    return _LOST_DETAILS.get(error.errno or 0, "reset" if isinstance(error, ConnectionError) else "lost")
