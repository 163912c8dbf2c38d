"""Why a connection ended, in one line."""

from __future__ import annotations

import pytest

from l4proxy.reason import CloseReason


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (CloseReason("client", "relay", "eof"), "client:eof phase=relay"),
        (
            CloseReason("filter", "on_connect", "filter_error", "gate", message="KeyError('x')"),
            "filter:filter_error:gate phase=on_connect KeyError('x')",
        ),
        (
            CloseReason("upstream", "connecting", "connect_refused", errno=111, flags=("UF",), message="refused"),
            "upstream:connect_refused phase=connecting errno=ECONNREFUSED refused",
        ),
        (CloseReason("client", "relay", "lost", errno=9999), "client:lost phase=relay errno=9999"),
    ],
)
def test_who_why_and_when(reason: CloseReason, text: str) -> None:
    assert str(reason) == text
