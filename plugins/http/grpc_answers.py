"""What the layer does for gRPC without any filter: it hears deadlines, and its own answers have a status of gRPC.

A call may also have to be ended when its response has begun. As a service does it, that is trailers with a status, so
that its client knows why; but only between two messages, because what a client makes of half a message and a status is
anybody's guess (a reset of the stream is none). So calls that have a time limit are followed: where do messages end?
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.plugins.http.message import HttpResponse
from l4proxy.protocols.grpc import (
    GrpcStatus,
    MessageReader,
    encode_message,
    is_failure,
    is_grpc,
    is_grpc_web,
    read_timeout,
    status_of_http,
)
from l4proxy.protocols.http_fields import FieldBlock

if TYPE_CHECKING:
    from l4proxy.plugins.http.message import HttpRequest

__all__ = [
    "as_grpc",
    "call_limit",
    "count_attempt",
    "follow",
    "grpc_response",
    "last_words",
    "retry_pushback",
    "went_well",
]


def grpc_response(status: GrpcStatus, message: str, *, details: str = "", flags: tuple[str, ...] = ()) -> HttpResponse:
    """A whole answer, "trailers-only" in the words of gRPC: a head with a status, and no body."""
    response = HttpResponse(200, details=details, flags=flags)
    _make_trailers_only(response, status, message)
    return response


def as_grpc(request: HttpRequest, response: HttpResponse) -> None:
    """Give an answer that is not the endpoint's the form that a gRPC client understands; no other is touched."""
    kind = response.field("content-type")
    if is_grpc(request.field("content-type")) and not (is_grpc(kind) or is_grpc_web(kind)):
        message = response.details or _phrase(response.status)
        _make_trailers_only(response, status_of_http(response.status), message)


def call_limit(request: HttpRequest) -> float:
    """Seconds that a call has by its ``grpc-timeout``, which the request has; 0 for what is no call or no time."""
    kind = request.field("content-type")
    if not (is_grpc(kind) or is_grpc_web(kind)):
        return 0.0
    return read_timeout(request.field("grpc-timeout") or "") or 0.0


def count_attempt(request: HttpRequest) -> None:
    """A call is about to be tried again: say so to the service, as gRPC's own clients do, and behind what its client
    has said of tries of its own."""
    if is_grpc(request.field("content-type")):
        before = request.field("grpc-previous-rpc-attempts") or ""
        count = int(before) + 1 if before.isdecimal() and len(before) < 5 else 1
        request.headers["Grpc-Previous-Rpc-Attempts"] = str(count)


def retry_pushback(response: HttpResponse) -> float | None:
    """Seconds for which a service wants no further try; below 0: for ever. None: it does not say."""
    wish = response.field("grpc-retry-pushback-ms")
    if wish is None:
        return None
    return int(wish) / 1000 if wish.isdecimal() and len(wish) < 12 else -1.0


def went_well(response: HttpResponse) -> bool | None:
    """Whether a response speaks for its endpoint, by its head and the trailers that have come with it; None where that
    is still to come, behind the messages of a gRPC call."""
    if response.status >= 500:
        return False
    status = response.field("grpc-status")
    if status is None and response.trailers is not None:
        status = response.trailers.index.get("grpc-status")
    if status is not None:
        return not is_failure(status)
    return None if is_grpc(response.field("content-type")) else True


def follow(response: HttpResponse) -> MessageReader | None:
    """What is to be fed with the body of a call's response, as the endpoint sends it; None for what is no call, or has
    said its status already."""
    if not is_grpc(response.field("content-type")) or response.field("grpc-status") is not None:
        return None
    return MessageReader(_ignore)


def last_words(request: HttpRequest, response: HttpResponse, status: int, message: str) -> FieldBlock | None:
    """The trailers that end a response which has begun and was followed, between two of its messages; None where its
    client would not see them, or not as trailers."""
    kind = response.field("content-type")  # what filters have made of it: gRPC-Web has trailers in its body
    if not (is_grpc_web(kind) or (is_grpc(kind) and request.version == "HTTP/2")):
        return None
    said = (("grpc-status", str(int(status_of_http(status)))), ("grpc-message", encode_message(message)))
    return FieldBlock(said)


def _ignore(_size: int) -> None:
    """Messages that nobody counts."""


def _make_trailers_only(response: HttpResponse, status: GrpcStatus, message: str) -> None:
    response.status = 200
    response.content = b""
    response.content_length = None
    response._body = None  # what filters wanted to do with the body
    headers = response.headers
    headers.discard("content-length")
    headers["Content-Type"] = "application/grpc"
    headers["Grpc-Status"] = str(int(status))
    if message:
        headers["Grpc-Message"] = encode_message(message)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP status {status}"
