"""What one process hands to another: listening sockets, and a supervisor's configuration.

Sockets outlive processes: workers get them, a successor does, and a service manager may give them. They travel as
inherited file descriptors. An environment variable says which descriptor is which address, so that the receiver needs
nothing but itself. What arrives is used before anything is opened; what no listener asks for is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import TypeVar

from l4proxy.sockets import bound_address

__all__ = [
    "CONFIGURATION",
    "SOCKETS",
    "configuration_for_child",
    "configuration_from_environment",
    "receive_sockets",
    "send_sockets",
    "sockets_for_child",
    "sockets_from_environment",
]

SOCKETS = "L4PROXY_SOCKETS"
"""Address text to descriptor numbers, as JSON."""
CONFIGURATION = "L4PROXY_CONFIGURATION"
"""The descriptor of the configuration's text."""
LISTEN_FDS_START = 3
SOCKETS_PER_MESSAGE = 200
"""The kernel takes 253 descriptors in one message."""
MESSAGE_SIZE = 64 * 1024
"""More than so many addresses take: a path has 108 bytes at most."""

Sockets = dict[str, list[socket.socket]]
T = TypeVar("T")


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


def _batched(pairs: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (pairs[at : at + size] for at in range(0, len(pairs), size))


def send_sockets(channel: socket.socket, sockets: Mapping[str, list[socket.socket]]) -> None:
    """Send sockets to another process, over a ``SOCK_SEQPACKET`` pair: several in a message, an empty one at the end.

    Blocks while the other end is behind with receiving, so it is for a thread. Raises OSError when that end is gone.
    """
    pairs = [(address, sock) for address, group in sockets.items() for sock in group]
    for some in (*_batched(pairs, SOCKETS_PER_MESSAGE), []):
        addresses = json.dumps([address for address, _ in some]).encode()
        socket.send_fds(channel, [addresses], [sock.fileno() for _, sock in some])


async def receive_sockets(channel: socket.socket) -> Sockets:
    """Receive what one ``send_sockets`` sends, which may come later. Raises ConnectionError when the sender is gone."""
    found: Sockets = {}
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(channel.fileno(), readable.set)
    try:
        while True:
            await readable.wait()
            readable.clear()
            with contextlib.suppress(BlockingIOError):
                while _receive_some(channel, found):
                    pass
                return found
    finally:
        loop.remove_reader(channel.fileno())


def _receive_some(channel: socket.socket, found: Sockets) -> bool:
    """Receive one message. False: it was the last one. Raises BlockingIOError when there is none yet."""
    text, numbers, _flags, _peer = socket.recv_fds(channel, MESSAGE_SIZE, SOCKETS_PER_MESSAGE)
    if not text:
        raise ConnectionResetError("the sender of sockets is gone")
    for address, number in zip(json.loads(text), numbers, strict=True):
        found.setdefault(address, []).append(_adopt(number))
    return bool(numbers)


def configuration_for_child(text: str) -> int:
    """A descriptor to be inherited, and named in ``L4PROXY_CONFIGURATION``, by a child that shall have this very
    configuration. The caller closes it."""
    memory = os.memfd_create("l4proxy-configuration")
    with open(memory, "wb", closefd=False) as file:
        file.write(text.encode())
    os.lseek(memory, 0, os.SEEK_SET)
    return memory


def configuration_from_environment(environ: MutableMapping[str, str] = os.environ) -> str | None:
    """The text that this process was started with, if it was; the variable is removed."""
    number = environ.pop(CONFIGURATION, "")
    if not number:
        return None
    with open(int(number), "rb") as file:
        return file.read().decode()
