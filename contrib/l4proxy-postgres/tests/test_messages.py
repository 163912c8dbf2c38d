"""The declarations, held against bytes that servers and clients really sent, and against the quick reader."""

from __future__ import annotations

import random

import pytest
from wire import client, error, server, startup

from l4proxy_postgres.messages import CLIENT, SERVER, error_fields, startup_parameters
from l4proxy_postgres.session import _CLIENT_LOOKS, _SERVER_LOOKS, texts

PSQL = b"\0\0\0?\0\3\0\0user\0postgres\0database\0postgres\0application_name\0psql\0\0"
SYNTAX_ERROR = b'SERROR\0VERROR\0C42601\0Msyntax error at or near "selec"\0P1\0Fscan.l\0L1188\0Rscanner_yyerror\0\0'


def test_the_startup_packet_of_psql() -> None:
    assert startup_parameters(PSQL) == {"user": "postgres", "database": "postgres", "application_name": "psql"}


def test_an_error() -> None:
    fields = error_fields(SYNTAX_ERROR)
    assert (fields["C"], fields["M"], fields["L"]) == ("42601", 'syntax error at or near "selec"', "1188")


@pytest.mark.parametrize("packet", [startup(user="bob")[:-1], b"\0\0\0\x08\0\3\0\0", b"", startup(user="bob")[:12]])
def test_broken_packets_are_a_value_error(packet: bytes) -> None:
    with pytest.raises(ValueError):
        startup_parameters(packet)


def test_text_that_is_not_utf_8_is_shown_all_the_same() -> None:
    assert error_fields(b"C42601\0M\xe4h\0\0")["M"] == "\ufffdh"


def test_every_message_that_is_declared_may_come_and_no_other() -> None:
    def kinds(declarations: dict[str, object]) -> set[int]:
        return {ord(message.kind.value) for message in declarations.values()}  # type: ignore[attr-defined]

    assert kinds(CLIENT) - {ord("D"), ord("d")} == set(_CLIENT_LOOKS)
    assert kinds(SERVER) - {ord("D"), ord("d")} == set(_SERVER_LOOKS)


NAMES = [b"", b"s", b"a name with spaces", "näme".encode()]


@pytest.mark.parametrize("seed", range(20))
def test_the_quick_reader_and_the_declarations_agree(seed: int) -> None:
    chance = random.Random(seed)
    portal, name, text = (chance.choice(NAMES) for _ in range(3))
    values = [{"data": chance.choice([None, b"", b"\0\0", b"text"])} for _ in range(chance.randint(0, 3))]
    bind = client("bind", portal=portal, statement=name, formats=[0], values=values, result_formats=[])
    assert texts(bind[5:], 2) == [portal, name]
    assert CLIENT["bind"].parse(bind).body["values"] == [{"size": _size(one["data"]), **one} for one in values]
    assert texts(client("parse", name=name, text=text, types=[23])[5:], 2) == [name, text]
    assert texts(client("query", text=text)[5:], 1) == [text]
    assert texts(client("execute", portal=portal, most_rows=0)[5:], 1) == [portal]
    assert texts(client("close", what=b"S", name=name)[6:], 1) == [name]
    assert texts(server("command_complete", tag=text)[5:], 1) == [text]
    assert error_fields(error("42601")[5:])["C"] == "42601"


def _size(data: bytes | None) -> int:
    return -1 if data is None else len(data)


def test_a_text_without_its_end_is_what_there_is() -> None:
    assert texts(b"select", 1) == [b"select"]
    assert texts(b"", 2) == [b"", b""]
