"""What the proxy itself says to clients, and why."""

from __future__ import annotations

from l4proxy.errors import UpstreamError

__all__ = [
    "BAD_NAME",
    "BUSY",
    "LOST",
    "NO_HELLO_NOW",
    "NO_PASSWORD",
    "OK",
    "TIMEOUT",
    "UNREADABLE",
    "error_reply",
    "of_upstream_error",
]

BAD_NAME = b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n"
NO_HELLO_NOW = b"-ERR HELLO is not possible while the server knows something of this connection\r\n"
NO_PASSWORD = (
    b"-ERR AUTH <password> called without any password configured for the default user. "
    b"Are you sure your configuration is correct?\r\n"
)
"""What a server says that asks for no password: the proxy logs in itself."""
OK = b"+OK\r\n"
LOST = b"-ERR upstream failure: the connection was lost before the reply\r\n"
TIMEOUT = b"-ERR upstream failure: no reply in time\r\n"
UNREADABLE = b"-ERR upstream protocol error\r\n"
BUSY = b"-ERR upstream overflow: too many commands wait for replies\r\n"


def error_reply(text: str) -> bytes:
    """An error whose first word is ``text``'s."""
    return b"-%b\r\n" % text.replace("\r", " ").replace("\n", " ").encode()


def of_upstream_error(error: UpstreamError) -> bytes:
    """Why no connection could be had. Addresses stay in the log: the client may be anybody."""
    if error.flag == "UH":
        return b"-ERR no upstream host\r\n"
    if error.flag == "UO":
        return b"-ERR upstream overflow: too many connections\r\n"
    return error_reply(f"ERR upstream failure: {error.detail.replace('_', ' ')}")
