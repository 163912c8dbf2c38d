"""What went wrong in a handshake: a name for counters and logs, and a sentence for people.

OpenSSL says it by a reason (``WRONG_VERSION_NUMBER``), or by an alert that came from the peer, or by a number of its
certificate verification (``X509_V_ERR_...``). The names are few and stable; what OpenSSL said stands in the sentence.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from errno import ECONNRESET, EPROTO

__all__ = ["DISTRUST_OF_SERVER", "HandshakeFailed", "broken_stream", "explain", "is_end", "what_broke"]


class HandshakeFailed(Exception):
    """A handshake that is refused for a reason of our own. ``why`` is the name."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


_REASONS = {
    "HTTP_REQUEST": ("tls_plaintext_http", "the client speaks plain HTTP to a port that expects TLS"),
    "HTTPS_PROXY_REQUEST": ("tls_plaintext_http", "the client takes this port for a plain HTTP proxy; it expects TLS"),
    "WRONG_VERSION_NUMBER": ("tls_plaintext", "the peer does not speak TLS"),
    "RECORD_LAYER_FAILURE": ("tls_plaintext", "the peer does not speak TLS"),
    "UNSUPPORTED_PROTOCOL": ("tls_version", "the peer speaks only versions of TLS that are not allowed here"),
    "VERSION_TOO_LOW": ("tls_version", "the peer speaks only versions of TLS that are not allowed here"),
    "NO_SHARED_CIPHER": ("tls_no_shared_cipher", "the peer offers no cipher that is allowed here"),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("tls_no_certificate", "the client showed no certificate"),
}
_ALERT = re.compile(r"(?:SSLV3_ALERT|TLSV13_ALERT|TLSV1_ALERT|TLSV1)_(\w+)")
_DISTRUST = {"unknown_ca", "bad_certificate", "certificate_unknown", "certificate_expired", "certificate_revoked"}

_VERIFY = {
    9: "not_yet_valid",
    10: "expired",
    18: "self_signed",
    23: "revoked",
    26: "wrong_purpose",
    62: "wrong_host",
    63: "wrong_host",
    64: "wrong_host",
}
DISTRUST_OF_SERVER = frozenset(f"tls_{name}" for name in (*_VERIFY.values(), "untrusted"))
"""Names of failures that lie in a server's certificate, and do not pass by themselves."""


def explain(error: ssl.SSLError, certificate: str) -> tuple[str, str]:
    """The name and the sentence. ``certificate`` is what names begin with that are about the peer's certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return certificate + _VERIFY.get(error.verify_code, "untrusted"), _inner(error.verify_message)
    reason = error.reason or ""
    if reason in _REASONS:
        return _REASONS[reason]
    if alert := _ALERT.fullmatch(reason):
        name = alert[1].lower()
        hint = ": it does not trust our certificate" if name in _DISTRUST else ""
        return f"tls_alert_{name}", f"the peer ended the handshake with the alert {name!r}{hint}"
    return "tls_protocol_error", f"the handshake broke: {_words(reason) or error}"


def _inner(text: str) -> str:
    """OpenSSL's sentence in the middle of one of ours."""
    return text[:1].lower() + text[1:].rstrip(".")


def _words(reason: str) -> str:
    return reason.lower().replace("_", " ")


def is_end(error: OSError) -> bool:
    """Whether the connection ended without close_notify. Up to Python 3.11.2 only OpenSSL's reason says so."""
    return isinstance(error, ssl.SSLError) and (
        isinstance(error, ssl.SSLEOFError) or error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )


def what_broke(sock: ssl.SSLSocket) -> OSError | None:
    """Whether an end of stream was more than that. Python 3.11 raises SSLEOFError for a reset too."""
    if code := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        return OSError(code, os.strerror(code))
    try:
        sock.getpeername()
    except OSError:
        return ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))
    return None


def broken_stream(error: OSError) -> OSError:
    """An error of ``ssl`` after the handshake, as an OSError that says so: its own number is none of the system's."""
    if is_end(error):  # while writing
        return ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET))
    if not isinstance(error, ssl.SSLError):
        return error
    reason = error.reason or ""
    if alert := _ALERT.fullmatch(reason):
        return OSError(EPROTO, f"TLS: the peer sent the alert {alert[1].lower()!r}")
    return OSError(EPROTO, f"TLS: {_words(reason) or error}")
