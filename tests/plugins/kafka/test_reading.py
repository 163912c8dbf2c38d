"""What the observer reads, of every API in every version, against what kafka-python reads in the same bytes."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import VERSIONS, decoded, made, picked
from l4proxy.plugins.kafka.reading import READINGS, error_selection
from l4proxy.protocols.kafka.apis import APIS, BY_NAME
from l4proxy.protocols.kafka.walker import Walker

WALKED = [
    (api, version, kind, walker)
    for api, version, kind in VERSIONS
    if (walker := READINGS[api.key][kind == "response"]) is not None
]


def streamed(walker: Walker, version: int, encoded: bytes, size: int) -> tuple[tuple[Any, ...], list[Any]]:
    elements: list[Any] = []
    reader = walker.streaming(version)(encoded[:size], 0, len(encoded[:size]), elements.append)
    try:
        next(reader)
        for at in range(size, len(encoded), size):
            chunk = encoded[at : at + size]
            reader.send((chunk, 0, len(chunk)))
    except StopIteration as done:
        result: tuple[Any, ...] = done.value[0]
        return result, elements
    raise AssertionError("it waits for more")


@given(st.integers(0, 1 << 32))
@settings(max_examples=4, deadline=None)
def test_every_reading_in_every_version(seed: int) -> None:
    chance = random.Random(seed)
    for api, version, kind, walker in WALKED:
        encoded, values = decoded(api, version, kind, made(api, version, kind, chance))
        expected = picked(getattr(api, kind).fields, walker.selection, values)
        assert walker.whole(version)(encoded, 0, len(encoded)) == expected, (api.name, version, kind)
        result, elements = streamed(walker, version, encoded, chance.choice((1, 7, 100, 10_000)))
        for at, chosen in enumerate(walker.selection):
            if chosen.each:  # these were handed over one at a time
                expected = (*expected[:at], None, *expected[at + 1 :])
                assert elements == picked(getattr(api, kind).fields, (chosen,), values)[0], (api.name, version, kind)
        assert result == expected, (api.name, version, kind)


def test_every_response_of_clients_is_read() -> None:
    """Brokers and controllers among themselves are not; a client's request is read where it says what is not in the
    response."""
    unread = {api.name for api in APIS.values() if READINGS[api.key] == (None, None)}
    assert unread.isdisjoint(api.name for api, *_ in WALKED)
    assert len(WALKED) > 350


def test_error_codes_are_found_however_deep_they_are() -> None:
    assert error_selection(BY_NAME["DescribeLogDirs"].response.fields) == "error_code results(error_code)"
