from __future__ import annotations

import re

from l4proxy.access_log.flags import RESPONSE_FLAGS


def test_flags_are_short_and_their_names_are_unique() -> None:
    assert all(re.fullmatch("[A-Z]{2,5}", flag) for flag in RESPONSE_FLAGS)
    assert all(re.fullmatch("([A-Z][a-z]+)+", name) for name in RESPONSE_FLAGS.values())
    assert len(set(RESPONSE_FLAGS.values())) == len(RESPONSE_FLAGS)


def test_the_flags_of_connections_come_first() -> None:
    assert list(RESPONSE_FLAGS)[:7] == ["UH", "UF", "UO", "NR", "URX", "NC", "DT"]
