"""What is wrong with a message, by name, and what its sender is told.

A name is one rule. The status is the one that RFC 9110 section 15 has for it; what an upstream sends is never answered.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import NoReturn

from l4proxy.codec import RemoteProtocolError

__all__ = ["RULES", "reply", "violation"]

RULES: dict[str, tuple[int, str]] = {
    # The first line
    "bad_request_line": (400, "the first line is not METHOD TARGET HTTP/1.1"),
    "tls_on_plain_port": (400, "this looks like TLS, and the port speaks plain HTTP"),
    "bad_method": (400, "the method is not a token of at most 32 characters"),
    "bad_target": (400, "the request target is none of the forms of RFC 9112 section 3.2, or has forbidden characters"),
    "fragment_in_target": (400, "a request target has no fragment"),
    "unsupported_version": (505, "the version is neither HTTP/1.0 nor HTTP/1.1"),
    "uri_too_long": (414, "the request line is too long"),
    "bad_status_line": (502, "the first line is not HTTP/1.1 STATUS REASON"),
    "http2_answer": (502, "the answer is HTTP/2, which was not asked for"),
    # Fields
    "head_too_large": (431, "the header fields are too large"),
    "too_many_fields": (431, "there are too many header fields"),
    "bare_lf": (400, "a line ends in LF without CR"),
    "bare_cr": (400, "there is a CR without LF"),
    "nul": (400, "there is a NUL character"),
    "control_character": (400, "there is a control character"),
    "obs_fold": (400, "a line begins with white space: folded fields are obsolete"),
    "missing_colon": (400, "a line of the header has no colon"),
    "space_before_colon": (400, "there is white space between a field's name and its colon"),
    "underscore_in_name": (400, "the name of a field has an underscore, which some programs take for a hyphen"),
    "bad_field_name": (400, "the name of a field is not a token"),
    # Who it is for
    "missing_host": (400, "an HTTP/1.1 request needs a Host field"),
    "several_hosts": (400, "there is more than one Host field"),
    "bad_host": (400, "the Host field, or the authority of the target, is not a host with an optional port"),
    "https_on_plain_port": (403, "the target is an https one, and the connection is not encrypted"),
    # Where the body ends
    "bad_content_length": (400, "Content-Length is not a plain decimal number"),
    "several_content_lengths": (400, "there is more than one Content-Length"),
    "content_length_and_transfer_encoding": (400, "there are both Content-Length and Transfer-Encoding"),
    "unknown_transfer_encoding": (501, "the only Transfer-Encoding understood is: chunked"),
    "several_transfer_encodings": (400, "there is more than one Transfer-Encoding field"),
    "transfer_encoding_in_http10": (400, "HTTP/1.0 has no Transfer-Encoding"),
    "body_with_connect": (400, "a CONNECT request has no body"),
    "body_with_upgrade": (400, "a request for an upgrade that has a body is not supported"),
    "body_where_none_can_be": (502, "a response that can have no body says that it has one"),
    "bad_chunk_size": (400, "the size of a chunk is not a plain hexadecimal number of at most 16 digits"),
    "bad_chunk_extension": (400, "a chunk extension has forbidden characters"),
    "chunk_line_too_long": (400, "the line with a chunk's size is too long"),
    "bad_chunk_end": (400, "a chunk does not end where its size says"),
    "trailers_too_large": (431, "the trailers are too large"),
    "forbidden_trailer": (400, "a trailer may not carry what frames or routes a message"),
    "incomplete_message": (400, "the connection ended within a message"),
    # Connections
    "bad_connection": (400, "Connection names a field that belongs to both ends, or too many of them"),
    "unknown_expectation": (417, "the only expectation understood is: 100-continue"),
    "unexpected_switch": (502, "a switch of protocols that nobody asked for"),
    "unexpected_response": (502, "bytes came that are the answer to no request"),
    "too_many_interim": (502, "there are too many 1xx responses"),
}
"""Status and meaning of each rule."""


def reply(status: int, text: str) -> bytes:
    """A whole response that ends the connection."""
    body = f"{text}\n".encode()
    return (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


def violation(rule: str, detail: str = "") -> NoReturn:
    """Raise the error of a rule; ``detail`` is for our own log, and never sent back."""
    status, meaning = RULES[rule]
    raise RemoteProtocolError(
        f"{meaning}: {detail}" if detail else meaning, code=rule, reply=reply(status, f"{rule}: {meaning}")
    )
