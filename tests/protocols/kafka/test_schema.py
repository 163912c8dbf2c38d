"""The notation of declarations, and the mistakes that it refuses."""

from __future__ import annotations

import pytest

from l4proxy.protocols.kafka.schema import NEWEST, Field, declare, walk


def test_a_declaration() -> None:
    schema = declare(
        """
        id string?     3+
        topics []?     0-5
          partitions []int32  2
        leader {}      4+ @1
          epoch int32
        """,
        flexible=3,
    )
    partitions = Field("partitions", "int32", True, False, 2, 2, None, ())
    epoch = Field("epoch", "int32", False, False, 0, NEWEST, None, ())
    assert schema.fields == (
        Field("id", "string", False, True, 3, NEWEST, None, ()),
        Field("topics", "struct", True, True, 0, 5, None, (partitions,)),
        Field("leader", "struct", False, False, 4, NEWEST, 1, (epoch,)),
    )
    assert [path for path, _ in walk(schema.fields)] == ["id", "topics", "topics.partitions", "leader", "leader.epoch"]
    assert schema.whole
    assert [version for version in range(5) if schema.is_flexible(version)] == [3, 4]
    assert not declare("a int8", flexible=None).is_flexible(NEWEST)


def test_an_open_end() -> None:
    assert not declare("a int8\n...", flexible=0).whole
    assert declare("...", flexible=0).fields == ()
    assert declare("", flexible=0).whole


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("name", "not a field"),
        ("name int33", "not a type"),
        ("name int32 3..4", "not a field"),
        ("topics []", "has no fields"),
        ("a int8\n  b int8", "indented more"),
        ("  a int8\nb int8", "indented less"),
        ("s {}\na int8", "has no fields"),
    ],
)
def test_what_is_no_declaration(text: str, because: str) -> None:
    with pytest.raises(ValueError, match=because):
        declare(text, flexible=None)
