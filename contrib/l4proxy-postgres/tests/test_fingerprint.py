from __future__ import annotations

import pytest

from l4proxy_postgres.fingerprint import FINGERPRINT_LIMIT, fingerprint


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT * FROM t WHERE id = 17", "select * from t where id = ?"),
        ("select *\n\tfrom  t -- all of it\nwhere id /* the key */ = $1;", "select * from t where id = ?"),
        ("select 1 where id in (1, 2,3)", "select ? where id in (?)"),
        ("insert into t values (1, 'a'), (2, 'b') , (3, 'c')", "insert into t values (?)"),
        ("select 'it''s', E'it\\'s', $$it's$$, $a$it's $$ $a$ from t", "select ? from t"),
        ("select 1.5, 1e-9, .5, 0xFF, 1_000, B'01', U&'x', -3", "select ?, -?"),
        ('SELECT "Name", t1.c2, x$1 FROM "My Table"', 'select "Name", t1.c2, x$1 from "My Table"'),
        ("select x::int4, a.b.c", "select x::int4, a.b.c"),
        ("ALTER USER bob PASSWORD 'secret'", "alter user bob password ?"),
        ("begin; update t set a = 1; commit;", "begin; update t set a = ?; commit"),
        ("SELECT 'ünïcode' AS Übung", "select ? as übung"),
        (" ; ", ""),
    ],
)
def test_fingerprints(statement: str, expected: str) -> None:
    assert fingerprint(statement) == expected


@pytest.mark.parametrize("literal", ["'my secret", "E'my secret\\", "$$my secret", "$a$my secret $$", "E'my secret'''"])
def test_half_a_literal_is_not_shown(literal: str) -> None:
    assert fingerprint(f"select {literal}") == "select ?"


def test_half_a_comment_and_half_a_name() -> None:
    assert fingerprint("select a /* why") == "select a"
    assert fingerprint('select "a') == 'select "a'


def test_long_ones_are_cut() -> None:
    text = fingerprint("select " + ", ".join(f"column_{number}" for number in range(1000)))
    assert len(text) == FINGERPRINT_LIMIT
    assert text.endswith("...")


@pytest.mark.parametrize("piece", ["'", "$a$", "/*", "--", "E'\\", "$", '"', "(1,", "1_", "(?),", "? ,", "a", " "])
def test_any_text_takes_a_time_that_grows_with_its_length_only(piece: str) -> None:
    """A pattern that backtracks would not come to an end here."""
    fingerprint(piece * 20_000)
