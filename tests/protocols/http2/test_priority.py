from __future__ import annotations

import pytest

from l4proxy.protocols.http2.priority import NO_PRIORITY, Priority, read_priority


@pytest.mark.parametrize(
    ("value", "urgency", "sequential"),
    [
        ("u=0", 0, True),
        ("u=7, i", 7, False),
        ("i, u=5", 5, False),
        ("i", 3, False),
        ("i=?1", 3, False),
        ("i=?0", 3, True),
        ("u=2,i,i=?0", 2, True),
        ("u=1, u=6", 6, True),
        ("u=1;x=y, i;z", 1, False),
        ("u=4, other=7, i", 4, False),
    ],
)
def test_what_is_said(value: str, urgency: int, sequential: bool) -> None:
    """RFC 9218 section 4: the last one counts."""
    assert read_priority(value) == Priority(urgency, sequential)


@pytest.mark.parametrize("value", ["", "u=8", "u=-1", "u=10", "xu=1", "i=1", "ii", "u", "\xff\0"])
def test_what_is_not_understood_is_not_there(value: str) -> None:
    assert read_priority(value) == NO_PRIORITY
