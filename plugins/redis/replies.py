"""What the proxy itself says to clients, and why."""

from __future__ import annotations

from collections.abc import Sequence

from l4proxy.errors import UpstreamError
from l4proxy.tls.failures import DISTRUST_OF_SERVER

__all__ = [
    "ABORTED",
    "BAD_NAME",
    "BUSY",
    "CROSS_SLOT",
    "DISTRUST",
    "FAILURES",
    "LATER",
    "LOST",
    "MOVED_AWAY",
    "NOT_SETTLED",
    "NO_HELLO_NOW",
    "NO_PASSWORD",
    "NO_PUSHES",
    "NO_ROUTE",
    "OK",
    "QUEUED",
    "TIMEOUT",
    "TOO_LONG",
    "UNREADABLE",
    "RefusedCommand",
    "error_reply",
    "first_word",
    "is_refusal",
    "not_while_subscribed",
    "of_upstream_error",
    "unknown_command",
]

ABORTED = b"-EXECABORT Transaction discarded because of previous errors.\r\n"
BAD_NAME = b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
MOVED_AWAY = b"-TRYAGAIN the keys of this transaction have moved to another server\r\n"
NOT_SETTLED = b"-TRYAGAIN servers do not agree on which of them has this key\r\n"
NO_HELLO_NOW = b"-ERR HELLO is not possible while the server knows something of this connection\r\n"
NO_PASSWORD = (
    b"-ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?\r\n"
)
"""What a server says that asks for no password: the proxy logs in itself."""
NO_PUSHES = b"-ERR CLIENT TRACKING needs REDIRECT here: the server is spoken to in RESP2, which knows no pushes\r\n"
NO_ROUTE = b"-ERR no route for this key\r\n"
OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"
CROSS_SLOT = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n"
LOST = b"-ERR upstream failure: the connection was lost before the reply\r\n"
TOO_LONG = b"-ERR the command is longer than this proxy holds (max_held)\r\n"
TIMEOUT = b"-ERR upstream failure: no reply in time\r\n"
UNREADABLE = b"-ERR upstream protocol error\r\n"
BUSY = b"-ERR upstream overflow: too many commands wait for replies\r\n"
FAILURES = (b"-ERR upstream failure: ", b"-ERR no upstream host")
"""How those begin that say that there is no server, or none any more."""
LATER = frozenset((b"-TRYAGAIN", b"-CLUSTERDOWN", b"-LOADING", b"-MASTERDOWN", b"-READONLY"))
"""Errors that will pass: the command was not done, and may be sent again."""


def first_word(error: bytes) -> bytes:
    """What an error begins with, as ``-LOADING``."""
    return error.partition(b" ")[0].rstrip()


def is_refusal(error: bytes) -> bool:
    """Whether there is no connection because the server does not let its client be who that wants to be: its password
    is wrong, or there is no such database."""
    return not error.startswith((b"-ERR upstream ", b"-ERR no upstream ")) and first_word(error) not in LATER


def error_reply(text: str) -> bytes:
    """An error whose first word is ``text``'s."""
    return b"-%b\r\n" % text.replace("\r", " ").replace("\n", " ").encode()


def not_while_subscribed(name: str) -> bytes:
    """What the server says in RESP2 to who has subscribed and wants something else."""
    return error_reply(
        f"ERR Can't execute '{name.lower()}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed "
        "in this context"
    )


def unknown_command(arguments: Sequence[bytes]) -> str:
    """What the server says of a command that it does not have."""
    shown = ""
    for argument in arguments[1:]:
        if len(shown) >= 128:
            break
        shown += f"'{argument[: 128 - len(shown)].decode('latin-1')}' "
    return f"ERR unknown command '{arguments[0][:128].decode('latin-1')}', with args beginning with: {shown}"


class RefusedCommand(UpstreamError):
    """A command that is for no server; ``reply`` says why."""

    def __init__(self, reply: bytes) -> None:
        super().__init__("", "refused_command", reply.decode("latin-1"))
        self.reply = reply


def of_upstream_error(error: UpstreamError) -> bytes:
    """Why no connection could be had. Addresses stay in the log: the client may be anybody."""
    if isinstance(error, RefusedCommand):
        return error.reply
    if error.flag == "UH":
        return b"-ERR no upstream host\r\n"
    if error.flag == "UO":
        return b"-ERR upstream overflow: too many connections\r\n"
    return _of_failure(error.detail)


def _of_failure(detail: str) -> bytes:
    return error_reply(f"ERR upstream failure: {detail.replace('_', ' ')}")


DISTRUST = frozenset(map(_of_failure, DISTRUST_OF_SERVER))
"""A server's certificate is wrong."""
