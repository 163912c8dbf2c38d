"""What the layer does for gRPC without any filter: it hears deadlines, and its own answers have a status of gRPC."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from l4proxy.plugins.http.message import HttpResponse
from l4proxy.protocols.grpc import GrpcStatus, encode_message, is_grpc, is_grpc_web, read_timeout, status_of_http

if TYPE_CHECKING:
    from l4proxy.plugins.http.message import HttpRequest

__all__ = ["as_grpc", "call_limit", "grpc_response"]


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
