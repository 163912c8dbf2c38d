from __future__ import annotations

from typing import Any

import pytest
from wire import (
    CANCEL_PACKET,
    GSSENC_PACKET,
    READY,
    SSL_PACKET,
    SYNC,
    client,
    complete,
    error,
    row,
    server,
    startup,
)

from l4proxy_postgres import session as module
from l4proxy_postgres.session import Ask, Lost, Session


class Notes:
    """Writes down what a session tells, and drives it: each step is a second later."""

    def __init__(self, prepared_limit: int = 1000) -> None:
        self.session = Session(self, prepared_limit)
        self.now = 0.0
        self.told: list[Any] = []

    def started(self, packet: bytes) -> None:
        self.told.append("started")

    def encrypted(self, by: str) -> None:
        self.told.append(by)

    def cancelled(self) -> None:
        self.told.append("cancelled")

    def completed(self, command: str, rows: int) -> None:
        self.told.append((command, rows))

    def failed(self, body: bytes) -> str:
        return "42601"

    def answered(self, ask: Ask, seconds: float) -> None:
        self.told.append((ask.statement, seconds, ask.rows, ask.error))

    def copied(self, received: int, sent: int) -> None:
        self.told.append(("copied", received, sent))

    def asks(self, *messages: bytes) -> Notes:
        self.now += 1
        self.session.client_sent(b"".join(messages), self.now)
        return self

    def answers(self, *messages: bytes) -> Notes:
        self.now += 1
        self.session.server_sent(b"".join(messages), self.now)
        return self


def begun(prepared_limit: int = 1000) -> Notes:
    notes = Notes(prepared_limit).asks(startup(user="bob"))
    notes.answers(
        server("authentication", method=0, data=b""), server("parameter_status", name=b"a", value=b"b"), READY
    )
    notes.told.clear()
    return notes


def query(text: str) -> bytes:
    return client("query", text=text.encode())


def parse(text: str, name: str = "") -> bytes:
    return client("parse", name=name.encode(), text=text.encode(), types=[])


def bind(name: str = "", portal: str = "") -> bytes:
    return client("bind", portal=portal.encode(), statement=name.encode(), formats=[], values=[], result_formats=[])


def execute(portal: str = "") -> bytes:
    return client("execute", portal=portal.encode(), most_rows=0)


PARSED, BOUND = server("parse_complete"), server("bind_complete")
SUSPENDED = server("portal_suspended")


def test_a_simple_query() -> None:
    notes = (
        begun().asks(query("select 1")).answers(server("row_description", columns=[]), row(b"1"), complete("SELECT 1"))
    )
    assert notes.told == [("SELECT", 1)]
    notes.answers(READY)
    assert notes.told[1:] == [(b"select 1", 2.0, 1, "")]


def test_several_commands_in_one_query() -> None:
    notes = begun().asks(query("begin; insert ...; delete ...; commit"))
    notes.answers(complete("BEGIN"), complete("INSERT 0 5"), complete("DELETE 2"), complete("COMMIT"), READY)
    assert notes.told == [
        ("BEGIN", 0),
        ("INSERT", 5),
        ("DELETE", 2),
        ("COMMIT", 0),
        (b"begin; insert ...; delete ...; commit", 1.0, 7, ""),
    ]


def test_an_empty_query() -> None:
    assert begun().asks(query("")).answers(server("empty_query"), READY).told == [(b"", 1.0, 0, "")]


def test_an_error_in_a_simple_query() -> None:
    notes = begun().asks(query("selec 1")).answers(error("42601"), READY)
    assert notes.told == [(b"selec 1", 1.0, 0, "42601")]


def test_extended_protocol() -> None:
    notes = begun().asks(parse("select $1"), client("describe", what=b"S", name=b""), bind(), execute(), SYNC)
    notes.answers(PARSED, server("parameter_description", types=[25]), server("no_data"), BOUND)
    notes.answers(row(b"1"), complete("SELECT 1"), READY)
    assert notes.told == [("SELECT", 1), (b"select $1", 2.0, 1, "")]


def test_prepared_statements_by_name() -> None:
    notes = begun().asks(parse("select 1", "one"), parse("select 2", "two"), SYNC).answers(PARSED, PARSED, READY)
    notes.asks(bind("two", "p"), execute("p"), bind("one"), execute(), SYNC)
    notes.answers(BOUND, complete("SELECT 2"), BOUND, complete("SELECT 1"), READY)
    assert [told[0] for told in notes.told] == ["SELECT", b"select 2", "SELECT", b"select 1"]


def test_a_statement_that_was_closed_or_never_seen_is_unknown() -> None:
    notes = begun().asks(parse("select 1", "one"), client("close", what=b"S", name=b"one"), SYNC)
    notes.answers(PARSED, server("close_complete"), READY)
    notes.asks(bind("one"), execute(), SYNC).answers(BOUND, complete("SELECT 1"), READY)
    assert notes.told == [("SELECT", 1), (None, 1.0, 1, "")]


def test_the_oldest_statements_are_forgotten() -> None:
    notes = begun(prepared_limit=2)
    notes.asks(*(parse(f"select {name}", name) for name in "abac"), SYNC).answers(*[PARSED] * 4, READY)
    notes.asks(*(bind(name, name) + execute(name) for name in "abc"), SYNC)
    notes.answers(*[BOUND + complete("SELECT 1")] * 3, READY)
    assert [told[0] for told in notes.told if told[0] != "SELECT"] == [b"select a", None, b"select c"]
    assert len(notes.session._statements) == len(notes.session._portals) == 2


def test_pipelined_queries_are_answered_in_order() -> None:
    notes = begun().asks(query("a"), query("b")).asks(parse("c"), bind(), execute(), SYNC)
    notes.answers(complete("SELECT 1"), READY).answers(complete("SELECT 2"), READY)
    notes.answers(PARSED, BOUND, complete("SELECT 3"), READY)
    assert notes.told[1::2] == [(b"a", 2.0, 1, ""), (b"b", 3.0, 2, ""), (b"c", 3.0, 3, "")]


def test_an_error_in_a_pipeline_drops_what_is_before_the_next_sync() -> None:
    notes = begun().asks(parse("bad", "s"), bind("s"), execute(), parse("skipped"), bind(), execute(), SYNC)
    notes.asks(parse("good"), bind(), execute(), SYNC)
    notes.answers(error("42601"), READY, PARSED, BOUND, complete("SELECT 1"), READY)
    assert notes.told == [(b"bad", 2.0, 0, "42601"), ("SELECT", 1), (b"good", 1.0, 1, "")]


def test_an_error_after_a_statement_that_succeeded() -> None:
    notes = begun().asks(parse("good", "g"), bind("g"), execute(), parse("bad"), bind(), execute(), SYNC)
    notes.answers(PARSED, BOUND, complete("SELECT 1"), PARSED, BOUND, row(b"1"), error("22012"), READY)
    assert notes.told == [("SELECT", 1), (b"good", 1.0, 1, ""), (b"bad", 1.0, 0, "42601")]


def test_an_error_while_binding_is_the_execution_s() -> None:
    notes = begun().asks(parse("select $1::int"), bind(), execute(), SYNC).answers(PARSED, error("22P02"), READY)
    assert notes.told == [(b"select $1::int", 1.0, 0, "42601")]


def test_an_error_that_nobody_asked_for() -> None:
    assert begun().answers(error("57P01")).told == []
    assert begun().asks(SYNC).answers(error("57014"), READY).told == []


def test_a_portal_that_is_read_in_parts() -> None:
    notes = begun().asks(parse("select"), bind(portal="p"), execute("p"), SYNC).answers(PARSED, BOUND, SUSPENDED, READY)
    notes.asks(execute("p"), SYNC).answers(complete("SELECT 5"), READY)
    assert notes.told == [(b"select", 1.0, 0, ""), ("SELECT", 5), (b"select", 1.0, 5, "")]


def test_copy_to_the_client() -> None:
    notes = begun().asks(query("copy t to stdout")).answers(server("copy_out", format=0, columns=[0]))
    notes.answers(server("copy_data", data=b"x" * 100), server("copy_data", data=b"y" * 10), server("copy_done"))
    notes.answers(complete("COPY 2"), READY)
    assert notes.told == [("copied", 0, 110), ("COPY", 2), (b"copy t to stdout", 4 - 1.0, 2, "")]


def test_copy_from_the_client() -> None:
    notes = begun().asks(query("copy t from stdin")).answers(server("copy_in", format=0, columns=[0]))
    notes.asks(client("copy_data", data=b"x" * 100)).asks(client("copy_done")).answers(complete("COPY 1"), READY)
    assert notes.told == [("copied", 100, 0), ("COPY", 1), (b"copy t from stdin", 4.0, 1, "")]


def test_syncs_within_copy_data_are_not_answered() -> None:
    notes = begun().asks(parse("copy t from stdin"), bind(), execute(), SYNC)
    notes.answers(PARSED, BOUND, server("copy_in", format=0, columns=[]))
    notes.asks(client("copy_data", data=b"x"), SYNC, client("copy_done"), SYNC).answers(complete("COPY 1"), READY)
    notes.asks(query("next")).answers(complete("SELECT 1"), READY)
    assert notes.told[1:] == [("COPY", 1), (b"copy t from stdin", 3.0, 1, ""), ("SELECT", 1), (b"next", 1.0, 1, "")]


def test_a_copy_that_the_client_gives_up() -> None:
    notes = begun().asks(query("copy t from stdin")).answers(server("copy_in", format=0, columns=[]))
    notes.asks(client("copy_fail", text=b"no")).answers(error("57014"), READY)
    assert notes.told == [(b"copy t from stdin", 3.0, 0, "42601")]


def test_a_copy_that_the_server_gives_up_while_the_client_sends_on() -> None:
    notes = begun().asks(parse("copy t from stdin"), bind(), execute(), SYNC)
    notes.answers(PARSED, BOUND, server("copy_in", format=0, columns=[]))
    notes.answers(error("22P04")).asks(client("copy_data", data=b"x"), client("copy_done"), SYNC).answers(READY)
    notes.asks(query("next")).answers(complete("SELECT 1"), READY)
    assert notes.told[-1] == (b"next", 1.0, 1, "")


def test_replication_copies_both_ways() -> None:
    notes = begun().asks(query("START_REPLICATION 0/0")).answers(server("copy_both", format=0, columns=[]))
    notes.answers(server("copy_data", data=b"wal")).asks(client("copy_data", data=b"ok"), client("copy_done"))
    notes.answers(server("copy_done"), complete("START_STREAMING"), READY)
    assert notes.told[:3] == [("copied", 0, 3), ("copied", 2, 0), ("START_STREAMING", 0)]


def test_a_function_call() -> None:
    notes = (
        begun()
        .asks(client("function_call", data=b"\0\0\0\1"))
        .answers(server("function_result", value={"data": b"1"}), READY)
    )
    assert notes.told == [(b"function call", 1.0, 0, "")]


@pytest.mark.parametrize(("packet", "by"), [(SSL_PACKET, "tls"), (GSSENC_PACKET, "gssapi")])
def test_encryption_that_the_server_accepts(packet: bytes, by: str) -> None:
    notes = Notes().asks(packet)
    assert notes.told == []
    assert notes.answers(b"S" if by == "tls" else b"G").told == [by]


def test_encryption_that_the_server_refuses() -> None:
    notes = Notes().asks(GSSENC_PACKET).answers(b"N").asks(SSL_PACKET).answers(b"N").asks(startup(user="bob"))
    assert notes.told == ["started"]
    notes.answers(READY).asks(query("select 1")).answers(complete("SELECT 1"), READY)
    assert notes.told[-1] == (b"select 1", 1.0, 1, "")


def test_an_old_server_that_answers_the_question_with_an_error() -> None:
    assert Notes().asks(SSL_PACKET).answers(error("0A000")).told == []


def test_a_client_that_speaks_tls_without_asking() -> None:
    assert Notes().asks(b"\x16\x03\x01\x02\x00").told == ["tls"]


def test_a_request_to_cancel() -> None:
    assert Notes().asks(CANCEL_PACKET).told == ["cancelled"]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", startup(version=2 << 16), b"\0\0\0\7\0\3\0\0", b"\x7f\xff\xff\xff\0\3\0\0"]
)
def test_what_is_no_startup_packet(data: bytes) -> None:
    with pytest.raises(Lost, match="a startup packet of"):
        Notes().asks(data)


def test_a_server_that_speaks_first() -> None:
    with pytest.raises(Lost, match="the server speaks first"):
        Notes().answers(b"220 mail.example.com ESMTP\r\n")


def test_questions_without_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    with pytest.raises(Lost, match="3 questions without an answer"):
        begun().asks(*[query("select 1")] * 4)


CLIENT_STREAM = b"".join(
    [startup(user="bob"), query("a"), parse("b", "s"), bind("s"), execute(), SYNC, client("terminate")]
)
SERVER_STREAM = b"".join(
    [READY, complete("SELECT 1"), READY, PARSED, BOUND, row(b"x"), complete("SELECT 1"), READY, error("57P01")]
)


def test_chunks_of_any_size_tell_the_same() -> None:
    def told(size: int) -> list[Any]:
        notes = Notes()
        for stream, feed in ((CLIENT_STREAM, notes.session.client_sent), (SERVER_STREAM, notes.session.server_sent)):
            for at in range(0, len(stream), size):
                feed(stream[at : at + size], 0.0)
        return notes.told

    whole = told(10_000)
    assert len(whole) == 5
    for size in (1, 2, 3, 5, 7, 64):
        assert told(size) == whole
