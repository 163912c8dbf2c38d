"""Listening sockets that outlive a process: handed to workers, to a successor, or given by a service manager.

Sockets travel as inherited file descriptors. An environment variable says which descriptor is which address, so that
the receiver needs nothing but itself. What arrives is used before anything is opened; what no listener asks for is
closed.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, MutableMapping

from l4proxy.sockets import bound_address

__all__ = ["SOCKETS", "receive_sockets", "send_sockets", "sockets_for_child", "sockets_from_environment"]

SOCKETS = "L4PROXY_SOCKETS"
"""Address text to descriptor numbers, as JSON."""
LISTEN_FDS_START = 3
MAX_FDS_PER_MESSAGE = 200

Sockets = dict[str, list[socket.socket]]


def sockets_for_child(sockets: Mapping[str, list[socket.socket]]) -> tuple[str, list[int]]:
    """The value of ``L4PROXY_SOCKETS`` for a child, and the descriptors that it must inherit."""
    numbers = {address: [sock.fileno() for sock in group] for address, group in sockets.items()}
    return json.dumps(numbers), [number for group in numbers.values() for number in group]


def sockets_from_environment(environ: MutableMapping[str, str] = os.environ) -> Sockets:
    """Take the listening sockets that this process was started with. The variables are removed: our children have their
    own.

    Understands our own variable and systemd's socket activation (``LISTEN_PID``, ``LISTEN_FDS``, sd_listen_fds(3)).
    """
    found: Sockets = {}
    text = environ.pop(SOCKETS, "")
    if text:
        for address, numbers in json.loads(text).items():
            found[address] = [_adopt(number) for number in numbers]
    count, pid = environ.pop("LISTEN_FDS", ""), environ.pop("LISTEN_PID", "")
    environ.pop("LISTEN_FDNAMES", None)
    if count and pid == str(os.getpid()):
        for number in range(LISTEN_FDS_START, LISTEN_FDS_START + int(count)):
            sock = _adopt(number)
            for name in _names(sock):
                found.setdefault(name, []).append(sock)
    return found


def _adopt(number: int) -> socket.socket:
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def _names(sock: socket.socket) -> list[str]:
    """How a configuration may write the address that a socket is bound to: ``0.0.0.0:80`` and ``[::]:80`` are also
    ``:80``."""
    address = bound_address(sock)
    if address.host in ("0.0.0.0", "::"):
        return [str(address), f":{address.port}"]
    return [str(address)]


def send_sockets(channel: socket.socket, sockets: Mapping[str, list[socket.socket]]) -> None:
    """Send sockets to another process, over a ``SOCK_SEQPACKET`` pair, a message per address."""
    for address, group in sockets.items():
        socket.send_fds(channel, [address.encode()], [sock.fileno() for sock in group])


def receive_sockets(channel: socket.socket) -> Sockets:
    """Receive what ``send_sockets`` has sent so far."""
    found: Sockets = {}
    with contextlib.suppress(BlockingIOError):
        while True:
            address, numbers, _flags, _peer = socket.recv_fds(channel, 4096, MAX_FDS_PER_MESSAGE)
            if not address:
                break
            found.setdefault(address.decode(), []).extend(_adopt(number) for number in numbers)
    return found
