from __future__ import annotations

import pytest

from l4proxy.protocols.grpc_health import NOT_SERVING, encode_health, read_health_request


def framed(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize(
    ("body", "service"),
    [
        (framed(b""), ""),
        (framed(b"\x0a\x00"), ""),
        (framed(b"\x0a\x03a.B"), "a.B"),
        (framed(b"\x0a\xc8\x01" + b"x" * 200), "x" * 200),
        (b"", None),
        (framed(b"")[:4], None),
        (framed(b"\x0a"), None),
        (framed(b"\x0a\x05a"), None),
        (framed(b"\x0a\x01ab"), None),
        (framed(b"\x0a\x81"), None),
        (framed(b"\x0a\x81\x80\x01"), None),
        (framed(b"\x12\x01a"), None),
        (framed(b"\x0a\x01\xff"), None),
        (framed(b"", 1), None),
        (framed(b"") * 2, None),
    ],
)
def test_requests(body: bytes, service: str | None) -> None:
    assert read_health_request(body) == service


def test_responses() -> None:
    assert encode_health(NOT_SERVING) == framed(b"\x08\x02")
