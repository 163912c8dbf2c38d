from __future__ import annotations

import random

import pytest
from l4proxy.stats_registry import StatsRegistry

from l4proxy_postgres import statements as module
from l4proxy_postgres.fingerprint import fingerprint
from l4proxy_postgres.statements import Statements, StatementStats


def test_statements_that_differ_in_values_are_one() -> None:
    registry = StatsRegistry()
    statements = Statements(registry)
    for number in range(3):
        statements.find(b"select %d" % number).count(0.5, 2, failed=number == 2)
    stats = registry.group(StatementStats, statement="select ?")
    assert (stats.calls_total, stats.errors_total, stats.rows_total, stats.seconds_total) == (3, 1, 6, 1.5)


def test_what_has_no_text() -> None:
    statements = Statements(StatsRegistry())
    assert statements.find(None).text == "(unknown)"
    assert statements.find(b" ;").text == "(empty)"
    assert statements.find(b"select '\xff'").text == "select ?"


def test_the_label_budget_bounds_their_number() -> None:
    registry = StatsRegistry(label_budget=5)
    statements = Statements(registry)
    for number in range(50):
        statements.find(b"select a%d" % number).count(0.0, 0, failed=False)
    samples = registry.snapshot()["l4proxy_postgres_statement_calls_total"]["samples"]
    assert {sample["labels"][0]: sample["value"] for sample in samples} == {
        **{f"select a{number}": 1 for number in range(5)},
        "other": 45,
    }


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEYS", 10)
    statements = Statements(StatsRegistry())
    for number in range(100):
        statements.find(b"select a%d" % number)
        assert len(statements._known) <= 10
    statements.find(b"select " + b"x" * 5000)
    assert all(len(key or b"") <= module.LONGEST_KEY for key in statements._known)


PIECES = ["select ", "a", "B1", " 12", "1.5", " 1e5", "1_0", "x.5", "'", "''", "'it'", "E'", "E'\\'", '"', "--", "\n", "/*",
          "*/", "$1", "$$", "$a$", " in (1, 2)", ", ", "?", "é1", ";"]  # fmt: skip


def test_texts_of_one_key_have_one_fingerprint() -> None:
    chance = random.Random(1)
    fingerprints: dict[bytes | None, str] = {}
    for _ in range(50_000):
        text = "".join(chance.choices(PIECES, k=chance.randint(1, 6)))
        for one in (text, text.replace("1", "7").replace("it", "them")):
            assert fingerprints.setdefault(module._key(one.encode()), fingerprint(one)) == fingerprint(one)
