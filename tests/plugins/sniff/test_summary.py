from __future__ import annotations

import io

from l4proxy.plugins.sniff.sight import Sight
from l4proxy.plugins.sniff.summary import MOST_ROWS, print_summary
from l4proxy.table import Column, ColumnKind, Table
from line_inspector import LineInspector
from sniffing import LINK, sight_of


class Tables(LineInspector):
    def tables(self) -> list[Table]:
        topics = [(f"t{number:02}", number, number * 10) for number in range(15)]
        columns = (Column("topic"), Column("lag", ColumnKind.NUMBER), Column("bytes/s", ColumnKind.BYTE_RATE))
        return [
            Table("topics", columns, lambda: topics, sort="lag"),
            Table("empty", columns, list),
            Table("names", columns[:1], lambda: [("b",), ("a\n",)]),
        ]


def summary(sight: Sight, began: float = 100.0, now: float = 110.0) -> list[str]:
    out = io.StringIO()
    print_summary(sight, [("packets", "5")], began, now, out)
    return out.getvalue().splitlines()


def test_what_was_seen() -> None:
    sight, _ = sight_of(inspector=Tables)
    connection = sight.connection(LINK, 1.0)
    try:
        connection.client_data(b"STOP\n", 1.0)
    except Exception as error:
        connection.failed(error, 1.0)
    lines = summary(sight)
    assert lines[:8] == [
        "time            10.0 s",
        "connections     1",
        "not understood  stop 1",
        "packets         5",
        "",
        "topics",
        "topic  lag  bytes/s",
        "t14     14   14 B/s",
    ]
    assert lines[7 + MOST_ROWS :] == ["and 5 more", "", "names", "topic", r"a\n", "b"]


def test_nothing_was_seen() -> None:
    sight, _ = sight_of()
    assert summary(sight, 0.0, 0.0) == ["connections     0", "packets         5"]


def test_only_what_was_chosen() -> None:
    sight, _ = sight_of(inspector=Tables, patterns={"topic": ["t01"]})
    assert [line for line in summary(sight) if line.startswith("t0")] == ["t01      1    1 B/s"]
