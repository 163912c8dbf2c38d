"""Why a connection ended: one structured answer per connection."""

from __future__ import annotations

import errno as _errno
from dataclasses import dataclass

__all__ = ["CloseReason"]


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Who ended a connection, in which phase, and why. Made once, when the connection closes.

    ``who``: ``client``, ``upstream``, ``proxy`` (a limit, a timeout, a drain) or ``filter``.
    ``phase``: ``accept``, ``peek``, ``tls_handshake``, ``on_connect``, ``connecting``, ``relay``.
    ``detail``: a stable snake-case name: ``eof``, ``reset``, ``idle_timeout``, ``connect_refused``, ``filter_error``
    ... ``flags``: Envoy's response flags (``UF``, ``UH``, ``NR`` ...), for access logs.
    ``filter``: the name of the filter that closed it or failed, else empty.
    ``errno``: the system's number where a system call failed, else 0.
    """

    who: str
    phase: str
    detail: str
    filter: str = ""
    errno: int = 0
    flags: tuple[str, ...] = ()
    message: str = ""

    def __str__(self) -> str:
        parts = [f"{self.who}:{self.detail}" + (f":{self.filter}" if self.filter else ""), f"phase={self.phase}"]
        if self.errno:
            parts.append(f"errno={_errno.errorcode.get(self.errno, str(self.errno))}")
        if self.message:
            parts.append(self.message)
        return " ".join(parts)
