"""``grpc_web``: gRPC for browsers, which cannot see trailers."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from l4proxy.codec import RemoteProtocolError
from l4proxy.filter import NoConfig
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.http.message import HttpFilter, HttpRequest, HttpResponse
from l4proxy.plugins.http.record import GRPC_STATUS
from l4proxy.protocols.grpc import Base64Reader, is_grpc, is_grpc_web, web_trailers

__all__ = ["GrpcWeb"]

_TEXT = "application/grpc-web-text"


class GrpcWeb(HttpFilter[NoConfig]):
    """Translate gRPC-Web, in its binary and its text form, to gRPC and back. Other requests are not touched.

    A page from elsewhere needs `cors` in front, with the fields that gRPC-Web has:

        { use = "cors", origins = ["https://app.example"], expose = ["grpc-status", "grpc-message"] },
        { use = "grpc_web" }
    """

    name = "grpc_web"
    wants = frozenset({"POST"})

    def on_request(self, request: HttpRequest) -> HttpRequest | None:
        kind = request.field("content-type")
        if kind is None or not is_grpc_web(kind):
            return request
        request.state["grpc_web:type"] = kind
        _, plus, format_ = kind.partition("+")
        request.headers["Content-Type"] = f"application/grpc{plus}{format_}"
        request.headers.discard("x-grpc-web")
        if kind.startswith(_TEXT):
            reader = Base64Reader()

            def guarded(read: Callable[[], bytes]) -> bytes:
                """What is no base64 is its client's error, and the end of its request alone."""
                try:
                    return read()
                except RemoteProtocolError as error:
                    if request.exchange is not None:
                        request.exchange.fail(400, error.code, str(error))
                    return b""

            request.body.change(lambda data: guarded(lambda: reader.feed(data)), lambda: guarded(reader.end))
        return request

    def on_response(self, response: HttpResponse) -> HttpResponse | None:
        kind = response.request.state.get("grpc_web:type")
        if kind is None or not is_grpc(response.field("content-type")):
            return response
        response.headers["Content-Type"] = kind
        if response.field("grpc-status") is None:
            text = kind.startswith(_TEXT)

            def ended() -> bytes:
                trailers, response.trailers = response.trailers, None
                if trailers is not None:
                    response.request.state[GRPC_STATUS] = trailers.get("grpc-status")
                frame = web_trailers(trailers.fields if trailers is not None else ())
                return base64.b64encode(frame) if text else frame

            response.body.change(base64.b64encode if text else _same, ended)
        return response


def _same(data: bytes) -> bytes:
    return data


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(GrpcWeb)
