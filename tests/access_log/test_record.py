from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from l4proxy.access_log.logger import AccessLogger
from l4proxy.access_log.record import AccessRecord, of_refusal
from l4proxy.matcher import PeekInfo
from l4proxy.plugin_manager import load_plugins
from l4proxy.reason import CloseReason
from l4proxy.registry import Kind
from l4proxy.server import serve
from records import record


@dataclass(frozen=True, slots=True)
class KeepConfig:
    pass


class Keep(AccessLogger[KeepConfig]):
    """Keeps the records."""

    name = "keep"
    records: ClassVar[list[AccessRecord]] = []

    def log(self, record: AccessRecord) -> None:
        self.records.append(record)


@pytest.fixture
def plugins() -> Any:
    Keep.records.clear()
    manager = load_plugins()
    manager.registry.register(Kind.ACCESS_LOGGER, Keep, "test")
    return manager


@pytest.mark.parametrize(
    ("reason", "failed"),
    [
        (CloseReason("client", "relay", "eof"), False),
        (CloseReason("upstream", "relay", "eof"), False),
        (CloseReason("proxy", "relay", "idle_timeout"), False),
        (CloseReason("filter", "on_connect", "direct_response", "direct_response"), False),
        (CloseReason("client", "peek", "eof"), False),
        (CloseReason("proxy", "peek", "peek_timeout"), True),
        (CloseReason("client", "tls_handshake", "tls_protocol"), True),
        (CloseReason("upstream", "connecting", "connect_refused", flags=("UF",)), True),
        (CloseReason("client", "relay", "reset", errno=104), True),
        (CloseReason("filter", "relay", "filter_error", "censor"), True),
        (CloseReason("proxy", "relay", "max_duration", flags=("DT",)), True),
    ],
)
def test_what_counts_as_failed(reason: CloseReason, failed: bool) -> None:
    assert record(reason=reason).failed is failed


def test_a_refused_connection_has_addresses_and_a_reason() -> None:
    info = PeekInfo(("203.0.113.9", 50000), ("192.0.2.1", 443))
    info.direct_source = ("10.0.0.9", 40000)
    info.server_name = "nobody.test"
    refused = of_refusal("web", info, CloseReason("proxy", "peek", "no_filter_chain_match", flags=("NR",)))
    assert str(refused.client) == "203.0.113.9:50000"
    assert (refused.client.local_host, refused.client.local_port) == ("192.0.2.1", 443)
    assert refused.direct_client == ("10.0.0.9", 40000)
    assert (refused.listener, refused.server_name, refused.connection_id) == ("web", "nobody.test", 0)
    assert refused.failed


def test_a_real_connection_is_recorded_with_both_ends(plugins: Any) -> None:
    async def main() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readexactly(3)) * 2)
            await reader.read()
            writer.close()

        upstream = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = upstream.sockets[0].getsockname()[1]
        config = {
            "listeners": [
                {"name": "web", "address": "127.0.0.1:0", "filters": [{"use": "tcp_proxy", "cluster": "db"}]},
            ],
            "clusters": [{"name": "db", "endpoints": [f"127.0.0.1:{port}"]}],
            "access_log": ["keep"],
        }
        async with upstream, serve(config, plugins=plugins) as server:
            (address,) = server.addresses["web"]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            writer.write(b"abc")
            assert await reader.readexactly(6) == b"abcabc"
            writer.write_eof()
            assert await reader.read() == b""
            mine = writer.get_extra_info("sockname")
            writer.close()
            await writer.wait_closed()
        (seen,) = Keep.records
        assert (seen.client.host, seen.client.port) == mine
        assert (seen.client.local_host, seen.client.local_port) == (address.host, address.port)
        assert seen.upstream is not None
        assert (seen.upstream.host, seen.upstream.port) == ("127.0.0.1", port)
        assert seen.upstream.local_port not in (0, port)
        assert (seen.bytes_received, seen.bytes_sent) == (3, 6)
        assert (seen.upstream_bytes_sent, seen.upstream_bytes_received) == (3, 6)
        assert (seen.cluster, seen.attempts, seen.listener) == ("db", 1, "web")
        assert str(seen.reason) == "client:eof phase=relay"
        assert not seen.failed

    asyncio.run(main())


def test_an_upstream_that_refuses_is_recorded_with_its_flag(plugins: Any) -> None:
    async def main() -> None:
        config = {
            "listeners": [
                {"name": "web", "address": "127.0.0.1:0", "filters": [{"use": "tcp_proxy", "cluster": "db"}]},
            ],
            "clusters": [{"name": "db", "endpoints": ["127.0.0.1:1"]}],
            "access_log": ["keep"],
        }
        async with serve(config, plugins=plugins) as server:
            (address,) = server.addresses["web"]
            reader, writer = await asyncio.open_connection(address.host, address.port)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        (seen,) = Keep.records
        assert "UF" in seen.reason.flags
        assert seen.upstream is None
        assert seen.connect_seconds is None
        assert seen.cluster == "db"
        assert seen.failed

    asyncio.run(main())
