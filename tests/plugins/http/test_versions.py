from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.codec import RemoteProtocolError
from l4proxy.plugins.http.versions import ALPN, client_version, explained, first_bytes_version

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "version"),
    [
        (PREFACE, "http2"),
        (PREFACE[:12], "http2"),
        (PREFACE[:11], "http1"),
        (b"PRI * HTTP/1.1\r\n", "http1"),
        (b"GET / HTTP/1.1\r\n", "http1"),
        (b"\x16\x03\x01", "http1"),
    ],
)
def test_clients_by_their_first_bytes(data: bytes, version: str) -> None:
    assert first_bytes_version(data) == version


@pytest.mark.parametrize("protocol", sorted(ALPN))
@pytest.mark.parametrize("agreed", ["h2", "http/1.1", "", None])
def test_endpoints_by_what_is_configured_and_agreed_on(protocol: str, agreed: str | None) -> None:
    stream: Any = SimpleNamespace() if agreed is None else SimpleNamespace(alpn=agreed)
    expected = protocol if protocol != "auto" else "http2" if agreed == "h2" else "http1"
    assert client_version(protocol, stream) == expected


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("http1_answer", 'protocol = "http1"'), ("http2_answer", "--upstream-protocol http2"), ("bad_status_line", "")],
)
def test_endpoints_that_speak_another_version_by_what_is_to_be_configured(code: str, remedy: str) -> None:
    text = explained(RemoteProtocolError("no", code=code))
    assert (remedy in text, text == "no") == (True, not remedy)
