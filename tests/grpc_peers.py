"""A gRPC service and its clients, with the package grpcio. Messages are plain bytes: no protobuf is needed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import grpc

__all__ = ["SERVICE", "Calls", "grpc_service", "in_thread"]

SERVICE = "test.v1.Echo"
T = TypeVar("T")


class _Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Each method is named after what it does."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str | bytes]]] = []
        self.fails = 0
        """How many calls of ``Flaky`` are still to fail,"""
        self.status = grpc.StatusCode.UNAVAILABLE
        """how,"""
        self.pushback: str | None = None
        """and what they say of when to try again (``grpc-retry-pushback-ms``)."""

    def service(self, call: Any) -> Any:
        _, service, method = call.method.split("/")
        if service != SERVICE:
            return None
        self.seen.append((method, dict(call.invocation_metadata)))
        handlers: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Collect": grpc.stream_unary_rpc_method_handler(lambda messages, _: b",".join(messages)),
            "Repeat": grpc.unary_stream_rpc_method_handler(self.repeat),
            "Chat": grpc.stream_stream_rpc_method_handler(lambda messages, _: (each.upper() for each in messages)),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "FailLate": grpc.unary_stream_rpc_method_handler(self.fail_late),
            "Flaky": grpc.unary_unary_rpc_method_handler(self.flaky),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
            "Begin": grpc.stream_stream_rpc_method_handler(self.begin),
        }
        return handlers.get(method)

    def unary(self, message: bytes, context: Any) -> bytes:
        context.set_trailing_metadata([("x-trailer", "yes")])
        return message

    def repeat(self, message: bytes, _context: Any) -> Iterator[bytes]:
        for _ in range(int(message)):
            yield message

    def fail(self, message: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 100%")
        return b""

    def fail_late(self, message: bytes, context: Any) -> Iterator[bytes]:
        yield message
        context.abort(grpc.StatusCode.DATA_LOSS, "lost")

    def flaky(self, message: bytes, context: Any) -> bytes:
        self.fails -= 1
        if self.fails >= 0:
            if self.pushback is not None:
                context.set_trailing_metadata([("grpc-retry-pushback-ms", self.pushback)])
            context.abort(self.status, "try again")
        return message

    def begin(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer the first message, and then nothing for as long as somebody waits."""
        yield next(messages)
        yield self.slow(b"", context)

    def slow(self, message: bytes, context: Any) -> bytes:
        while context.is_active():
            time.sleep(0.01)
        return b""


@contextlib.asynccontextmanager
async def grpc_service() -> AsyncIterator[tuple[int, _Service]]:
    """Its port, and the service."""
    service = _Service()
    server = grpc.server(ThreadPoolExecutor(16), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, service
    finally:
        await in_thread(lambda: server.stop(None).wait())


async def in_thread(call: Callable[[], T]) -> T:
    """Blocking calls go beside the loop that the proxy runs in."""
    return await asyncio.to_thread(call)


class Calls:
    """A client's channel."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)])

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def unary(self, method: str, message: bytes = b"hello", **options: Any) -> Any:
        """The response and the finished call."""
        return self.channel.unary_unary(f"/{SERVICE}/{method}").with_call(message, timeout=10, **options)

    def failure(self, method: str, message: bytes = b"hello", timeout: float = 10) -> tuple[str, str]:
        """The status that a call fails with, and its message."""
        try:
            path = method if method.startswith("/") else f"/{SERVICE}/{method}"
            list(self.channel.unary_stream(path)(message, timeout=timeout))
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", ""
