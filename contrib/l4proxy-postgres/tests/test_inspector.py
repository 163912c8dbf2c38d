from __future__ import annotations

from l4proxy import Conversation, Link, Peer, Side
from l4proxy.stats_registry import StatsRegistry
from l4proxy.testing import check_inspector
from wire import CANCEL_PACKET, READY, SSL_PACKET, SYNC, client, complete, error, row, server, startup

from l4proxy_postgres.inspector import PostgresConfig, PostgresExchange, PostgresInspector

CLIENT, SERVER = Side.CLIENT, Side.UPSTREAM
SESSION = startup(user="bob", application_name="tests")
BOB = {"user": "bob", "database": "bob", "application_name": "tests"}
NOBODY = {"user": "", "database": "", "application_name": ""}


def query(text: str) -> bytes:
    return client("query", text=text.encode())


def seen(inspector: PostgresInspector) -> list[PostgresExchange]:
    told: list[PostgresExchange] = []
    inspector.on_exchange = told.append  # type: ignore[assignment]
    return told


def watch(*, midway: bool = False) -> tuple[PostgresInspector, Conversation, list[PostgresExchange]]:
    inspector = PostgresInspector(PostgresConfig(), StatsRegistry())
    told = seen(inspector)
    return inspector, inspector.conversation(Link(1, Peer("192.0.2.1", 40000), midway=midway)), told


def test_it_keeps_the_contract() -> None:
    prepare = client("parse", name=b"s", text=b"select $1", types=[])
    bind = client("bind", portal=b"", statement=b"s", formats=[], values=[{"data": b"1"}], result_formats=[])
    execute = client("execute", portal=b"", most_rows=0)
    prepared = server("parse_complete") + server("bind_complete")
    script = [
        (CLIENT, SESSION),
        (SERVER, server("authentication", method=0, data=b"") + READY),
        (CLIENT, query("select 'secret' from t")),
        (SERVER, server("row_description", columns=[]) + row(b"1") + complete("SELECT 1") + READY),
        (CLIENT, query("selec")),
        (SERVER, error("42601") + READY),
        (CLIENT, prepare + bind + execute + SYNC),
        (SERVER, prepared + complete("SELECT 5") + READY),
        (CLIENT, query("copy t from stdin")),
        (SERVER, server("copy_in", format=0, columns=[])),
        (CLIENT, client("copy_data", data=b"12345") + client("copy_done")),
        (SERVER, complete("COPY 1") + READY),
    ]
    expect = [
        ("SELECT", "", {"statement": "select ? from t", "rows": 1, **BOB}),
        ("SELEC", "42601", {"statement": "selec", "rows": 0, **BOB}),
        ("SELECT", "", {"statement": "select ?", "rows": 5, **BOB}),
        ("COPY", "", {"statement": "copy t from stdin", "rows": 1, **BOB}),
    ]
    bad = [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\3\0\3\0\0", startup(2 << 16)]
    check_inspector(PostgresInspector, script, expect, bad=bad, rounds=5)
    check_inspector(PostgresInspector, [(CLIENT, SSL_PACKET), (SERVER, b"S")], [], rounds=5)
    check_inspector(PostgresInspector, [(CLIENT, CANCEL_PACKET)], [], rounds=5)


def test_from_the_middle_it_begins_where_the_server_waits() -> None:
    _, conversation, told = watch(midway=True)
    conversation.client_data(b"the rest of a message", 1.0)
    conversation.server_data(b"rows, rows", 1.0)
    conversation.server_data(complete("SELECT 1") + READY, 1.0)
    conversation.client_data(query("select 1"), 2.0)
    conversation.server_data(complete("SELECT 1") + READY, 2.5)
    assert [(one.at, one.seconds, dict(one.fields())) for one in told] == [
        (2.0, 0.5, {"statement": "select ?", "rows": 1, **NOBODY})
    ]
    assert told[0].line() == "192.0.2.1:40000 SELECT 500.000ms 1 rows select ?"


def test_tables() -> None:
    inspector, conversation, _ = watch()
    conversation.client_data(SESSION, 0.5)
    conversation.server_data(READY, 0.5)
    conversation.client_data(query("select 1") + query("select 2") + query("selec"), 1.0)
    conversation.server_data((complete("SELECT 1") + READY) * 2 + error("42601") + READY, 1.5)
    statements, commands, errors = ([*table.rows()] for table in inspector.tables())
    assert statements == [("select ?", 2, 2, 0.5, 1.0, 2, 0), ("selec", 1, 1, 0.5, 0.5, 0, 1)]
    assert commands == [("SELECT", 2, 2)]
    assert errors == [("42601", 1)]


def test_what_can_be_chosen() -> None:
    _, conversation, told = watch()
    conversation.client_data(SESSION + query("select 1"), 1.0)
    conversation.server_data(READY + complete("SELECT 1") + READY, 1.5)
    texts = {selector.name: [*selector.texts(told[0])] for selector in PostgresInspector.selectors}
    assert texts == {"statement": ["select ?"], "user": ["bob"], "database": ["bob"]}
