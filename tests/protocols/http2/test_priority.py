from __future__ import annotations

import pytest

from l4proxy.protocols.http2.priority import read_urgency


@pytest.mark.parametrize(
    ("value", "urgency"),
    [
        ("u=0", 0),
        ("u=7, i", 7),
        ("i, u=5", 5),
        ("i", 3),
        ("", 3),
        ("u=1, u=6", 6),
        ("u=1;x=y, i", 1),
        ("u=8", 3),
        ("u=-1", 3),
        ("u=10", 3),
        ("xu=1", 3),
        ("\xff\0", 3),
    ],
)
def test_urgency(value: str, urgency: int) -> None:
    """RFC 9218 section 4: the last one counts, and what is not understood is the default."""
    assert read_urgency(value) == urgency
