"""The page of all APIs is what the code says."""

from __future__ import annotations

from docs.kafka_apis import PATH, page


def test_the_page_is_up_to_date() -> None:
    assert PATH.read_text() == page(), "write it anew: cd tests && python -m docs.kafka_apis"
