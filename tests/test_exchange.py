from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l4proxy.exchange import Exchange, Notice
from l4proxy.filter import Peer
from l4proxy.inspector import Link

LINK = Link(7, Peer("192.0.2.1", 40000))


class Get(Exchange):
    __slots__ = ()

    def fields(self) -> Mapping[str, Any]:
        return {"key": "a", "hits": 0, "tags": [], "nothing": None}


def test_a_line_says_what_there_is_to_say() -> None:
    assert Exchange(LINK, 1.0, "PING").line() == "192.0.2.1:40000 PING"
    assert Get(LINK, 1.0, "GET", 0.0125, error="MOVED").line() == "192.0.2.1:40000 GET 12.500ms MOVED key=a hits=0"


def test_a_notice_is_a_sentence() -> None:
    notice = Notice(LINK, 1.0, "rebalance", "group g has 3 members", error="timeout")
    assert notice.line() == "192.0.2.1:40000 rebalance timeout group g has 3 members"
    assert notice.fields() == {"message": "group g has 3 members"}
    assert notice.seconds is None
