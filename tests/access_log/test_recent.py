from __future__ import annotations

from l4proxy.access_log.recent import KEPT, RecentRecords
from l4proxy.access_log.record import AccessRecord
from l4proxy.filter import Peer
from l4proxy.reason import CloseReason


def record(number: int) -> AccessRecord:
    reason = CloseReason("client", "relay", "eof")
    return AccessRecord("web", Peer("192.0.2.1", 1000), reason, 0.0, connection_id=number, state={"password": "x"})


def test_the_last_records_are_kept_without_what_filters_keep() -> None:
    recent = RecentRecords()
    given = [record(number) for number in range(1, KEPT + 11)]
    for one in given:
        recent.log(one)
    assert [one.connection_id for one in recent.records] == list(range(11, KEPT + 11))
    assert all(one.state == {} for one in recent.records)
    assert given[-1].state == {"password": "x"}, "other sinks have the same record"


def test_connections_without_a_number_do_not_drive_out_others() -> None:
    recent = RecentRecords()
    recent.log(record(1))
    for _ in range(KEPT):
        recent.log(record(0))
    assert [one.connection_id for one in recent.records] == [1]
