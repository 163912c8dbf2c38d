"""The health check ``grpc``: against grpcio, and against answers that are none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from health_checks import TALKS, problem_at, problem_of
from l4proxy.errors import ConfigError
from l4proxy.protocols.grpc_health import encode_health, read_health_request

CHECK = {"use": "grpc"}
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


class Health(grpc.GenericRpcHandler):  # type: ignore[misc]
    """``grpc.health.v1.Health``, as far as it is asked."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers = answers

    def service(self, call: Any) -> Any:
        assert call.method == "/grpc.health.v1.Health/Check"
        return grpc.unary_unary_rpc_method_handler(self.check)

    def check(self, message: bytes, context: Any) -> bytes:
        service = read_health_request(b"\0" + len(message).to_bytes(4, "big") + message)
        assert service is not None
        if service not in self.answers:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self.answers[service]


@contextlib.contextmanager
def serving(answers: dict[str, bytes]) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Health(answers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def message(status: int) -> bytes:
    return encode_health(status)[5:]


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        ("", ""),
        ("shop.v1.Orders", "it says that it does not serve (2)"),
        ("new", "it says that it does not serve (0)"),
        ("none", "it answers with NOT_FOUND"),
        ("odd", "its answer is no HealthCheckResponse"),
        ("long", "its answer is no HealthCheckResponse"),
        ("n" * 200, ""),
    ],
)
def test_what_a_server_says(service: str, problem: str) -> None:
    answers = {"": message(1), "shop.v1.Orders": message(2), "new": b"", "odd": b"abc", "long": bytes(5000)}
    with serving({**answers, "n" * 200: message(1)}) as address:
        assert problem_at(address, {**CHECK, "service": service, "timeout": "10s"}) == problem


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "its answer is not right"),
        (b"", "it closed the connection before it had answered"),
        (SETTINGS + b"\0\0\x08\7\0\0\0\0\0" + bytes(8), "it refuses the request: GOAWAY with NO_ERROR"),
        (SETTINGS + b"\0\0\4\3\0\0\0\0\1" + b"\0\0\0\7", "it refuses the request: RST_STREAM with REFUSED_STREAM"),
        (SETTINGS + b"\0\0\1\1\5\0\0\0\1" + b"\x8d", "it answers with HTTP status 404"),
        (SETTINGS + b"\0\0\1\1\5\0\0\0\1" + b"\x88", "it answers with UNKNOWN"),
    ],
)
def test_answers_that_are_none(answer: bytes, problem: str) -> None:
    def says(data: bytes) -> TALKS:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(data)
            await writer.drain()
            if data:
                await reader.read()

        return talk

    assert problem in problem_of(CHECK, says(answer)) != ""


def test_options_that_make_no_call() -> None:
    with pytest.raises(ConfigError, match="authority: 'a b' is none"):
        problem_at("127.0.0.1:1", {**CHECK, "authority": "a b"})
