from __future__ import annotations

from kafka_messages import batch
from l4proxy.protocols.kafka.anonymous import anonymous


def test_batches_become_nobodys() -> None:
    """As if nobody had sent them, checksum included."""
    for count in (1, 7, 500):
        assert anonymous(batch(count, producer=(77, 3, 12))) == batch(count)
    both = batch(3, producer=(1, 2, 3), attributes=1) + batch(2)
    assert anonymous(both) == batch(3, attributes=1) + batch(2)


def test_others_stay_as_they_are() -> None:
    data = batch(5)
    assert anonymous(data) is data
