from __future__ import annotations

import pytest
from l4proxy import ConfigError
from l4proxy.plugin_manager import load_plugins
from l4proxy.registry import Kind
from l4proxy.testing import StartProxy, check_filter, harness

from l4proxy_limit_upload import LimitUpload


def test_it_is_found_where_it_is_installed() -> None:
    assert load_plugins().registry.find(Kind.FILTER, "limit_upload") is LimitUpload


def test_what_is_not_too_much_passes() -> None:
    h = harness(LimitUpload, max_bytes=10)
    h.client.send(b"12345", b"67890")
    h.upstream.send(b"as much as the upstream likes")
    assert h.upstream.received == b"1234567890"
    assert h.client.received == b"as much as the upstream likes"
    assert h.closed is None


def test_too_much_closes_the_connection() -> None:
    h = harness(LimitUpload, max_bytes="10B")
    h.client.send(b"1234567890", b"!")
    assert h.closed is not None
    assert h.closed.detail == "too_much_sent"
    assert h.upstream.received == b"1234567890"


def test_connections_are_counted_apart(proxy: StartProxy) -> None:
    running = proxy(LimitUpload, max_bytes=10)  # a real one, in front of a server that echoes
    for _ in range(2):
        with running.connect() as client:
            client.send(b"1234567890")
            assert client.receive(10) == b"1234567890"
            client.send(b"!")
            assert client.receive_all() == b""
    assert [reason.detail for reason in running.wait_closed(2)] == ["too_much_sent", "too_much_sent"]


def test_the_same_comes_out_however_the_bytes_arrive() -> None:
    check_filter(LimitUpload, client=[b"12345"], upstream=[b"hi"], expect_upstream=b"12345", max_bytes=10)
    check_filter(LimitUpload, client=[b"1234567890!"], expect_upstream=b"1234567890", max_bytes=10)


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_bytes: must be at least 1"):
        harness(LimitUpload, max_bytes=0)
