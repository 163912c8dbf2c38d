from __future__ import annotations

from typing import Any

import pytest
from l4proxy import ConfigError
from l4proxy.plugin_manager import load_plugins
from l4proxy.registry import Kind
from l4proxy.testing import Harness, SocketEnd, StartProxy, check_filter, harness
from wire import CANCEL_PACKET, READY, SSL_PACKET, SYNC, client, complete, error, row, server, startup

from l4proxy_postgres import Postgres, PostgresInspector

SESSION = startup(user="bob", application_name="tests")
QUERY = client("query", text=b"select 'secret' from t")
ANSWER = server("row_description", columns=[]) + row(b"1") + complete("SELECT 1") + READY


def value(h: Harness, metric: str, *labels: str) -> Any:
    samples = h.stats.snapshot()[f"l4proxy_postgres_{metric}"]["samples"]
    return next((sample["value"] for sample in samples if sample["labels"] == list(labels)), 0)


def stopped(h: Harness) -> dict[str, Any]:
    """Why sessions are not watched on."""
    samples = h.stats.snapshot()["l4proxy_inspection_stopped_total"]["samples"]
    return {sample["labels"][1]: sample["value"] for sample in samples}


def talk(h: Harness) -> None:
    h.client.send(SESSION)
    h.upstream.send(server("authentication", method=0, data=b"") + READY)
    h.client.send(QUERY)
    h.upstream.send(ANSWER)


def test_it_is_found_where_it_is_installed() -> None:
    registry = load_plugins().registry
    assert registry.find(Kind.FILTER, "postgres") is Postgres
    assert registry.find(Kind.INSPECTOR, "postgres") is PostgresInspector


def test_what_is_counted() -> None:
    h = harness(Postgres)
    talk(h)
    h.client.send(client("query", text=b"selec"))
    h.upstream.send(error("42601") + READY)
    h.client.send(client("query", text=b"copy t from stdin"))
    h.upstream.send(server("copy_in", format=0, columns=[]))
    h.client.send(client("copy_data", data=b"12345") + client("copy_done"))
    h.upstream.send(complete("COPY 1") + READY)
    assert value(h, "sessions_total") == 1
    assert value(h, "commands_total", "SELECT") == 1
    assert value(h, "rows_total") == 2
    assert value(h, "errors_total", "42601") == 1
    assert value(h, "copy_received_bytes_total") == 5
    assert sum(value(h, "statement_seconds")["counts"]) == 3
    assert value(h, "statement_calls_total", "select ? from t") == 1
    assert value(h, "statement_rows_total", "select ? from t") == 1
    assert value(h, "statement_errors_total", "selec") == 1


def test_what_the_access_log_can_show() -> None:
    h = harness(Postgres)
    talk(h)
    state = h.connection.state
    h.client.eof()
    h.upstream.eof()
    assert state == {
        "postgres:user": "bob",
        "postgres:database": "bob",
        "postgres:application_name": "tests",
        "postgres:statements": 1,
        "postgres:errors": 0,
    }


def test_slow_statements_are_logged_without_their_values(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("l4proxy.stream._clock", lambda: next(clock))
    caplog.set_level("INFO")
    h = harness(Postgres, slow_statement="1500ms")
    talk(h)
    (record,) = caplog.records
    assert record.getMessage().partition("] ")[2] == (
        "198.51.100.1:40000 SELECT 2000.000ms 1 rows bob@bob select ? from t"
    )
    assert record.name == "l4proxy.inspector.postgres"


def test_quick_statements_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    talk(harness(Postgres, slow_statement="1h"))
    talk(harness(Postgres))
    assert not caplog.records


def test_an_encrypted_session_is_left_alone() -> None:
    h = harness(Postgres)
    h.client.send(SSL_PACKET)
    h.upstream.send(b"S")
    h.client.send(b"\x16\x03\x01 whatever")
    h.upstream.send(b"\x16\x03\x03 whatever")
    assert h.upstream.received == SSL_PACKET + b"\x16\x03\x01 whatever"
    assert h.connection.state == {"postgres:encrypted": "tls", "postgres:statements": 0, "postgres:errors": 0}
    assert stopped(h) == {"tls": 1}
    assert h.connection.client.on_data == h.connection.upstream.write, "it is out of the chain"


def test_a_request_to_cancel_is_counted() -> None:
    h = harness(Postgres)
    h.client.send(CANCEL_PACKET)
    assert value(h, "cancel_requests_total") == 1
    assert stopped(h) == {"cancel": 1}


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_another_protocol_passes_unwatched(side: str) -> None:
    h = harness(Postgres)
    getattr(h, side).send(b"GET / HTTP/1.1\r\n\r\n", b"and so on")
    other = h.upstream if side == "client" else h.client
    assert other.received == b"GET / HTTP/1.1\r\n\r\nand so on"
    assert stopped(h) == {"not_postgres": 1}
    assert h.chain.filters[0].stats.errors_total == 0


def test_a_startup_packet_without_an_end() -> None:
    h = harness(Postgres)
    h.client.send(startup(user="bob")[:3] + b"\x10\0\3\0\0user\0bob")
    assert stopped(h) == {"not_postgres": 1}


def test_errors_that_cannot_be_read_are_counted() -> None:
    h = harness(Postgres)
    h.client.send(SESSION)
    h.upstream.send(b"E\0\0\0\5C")
    assert value(h, "errors_total", "unknown") == 1


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="prepared_limit: 0 is out of range"):
        harness(Postgres, prepared_limit=0)


def test_the_same_comes_out_however_the_bytes_arrive() -> None:
    prepare = client("parse", name=b"s", text=b"select $1", types=[])
    bind = client("bind", portal=b"", statement=b"s", formats=[], values=[{"data": b"1"}], result_formats=[])
    execute = client("execute", portal=b"", most_rows=0)
    asked = [SESSION, QUERY, prepare + bind + execute + SYNC, client("terminate")]
    answered = [READY, ANSWER, server("parse_complete") + server("bind_complete") + complete("SELECT 1") + READY]
    check_filter(
        Postgres,
        client=asked,
        upstream=answered,
        expect_upstream=b"".join(asked),
        expect_client=b"".join(answered),
        rounds=5,
    )


def test_in_a_real_proxy(proxy: StartProxy) -> None:
    def answers(end: SocketEnd) -> None:
        end.receive(len(SESSION + QUERY))
        end.send(READY + ANSWER)

    running = proxy(Postgres, upstream=answers)
    with running.connect() as psql:
        psql.send(SESSION + QUERY)
        assert psql.receive_all() == READY + ANSWER
    running.wait_closed()
    assert running.records[0].state["postgres:user"] == "bob"
    assert running.stat("l4proxy_postgres_sessions_total") == 1
