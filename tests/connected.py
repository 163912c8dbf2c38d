"""Who is connected to a port of this host, as the kernel knows it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = ["connected_to"]

_ESTABLISHED = "01"
End = tuple[str, int]


def connected_to(ports: Collection[int]) -> set[int]:
    """The processes that have a connection to one of these ports."""
    sockets = list(_sockets())
    theirs = {(remote, local) for local, remote, _ in sockets if local[1] in ports}
    # Both ends have to match: two connections to different places may begin at the same port.
    inodes = {inode for local, remote, inode in sockets if (local, remote) in theirs}
    return {pid for pid, inode in _owners() if inode in inodes}


def _sockets() -> Iterator[tuple[End, End, str]]:
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _ESTABLISHED:
                yield _end(fields[1]), _end(fields[2]), fields[9]


def _end(text: str) -> End:
    """An IPv4 address in IPv6 clothes is that address."""
    host, _, port = text.partition(":")
    return host[-8:], int(port, 16)


def _owners() -> Iterator[tuple[int, str]]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = os.readlink(descriptor)
                    if target.startswith("socket:["):
                        yield int(process.name), target[8:-1]
