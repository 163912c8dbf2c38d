"""What is offered to clients is what both sides understand, and the rest of the answer is left alone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kafka_messages import message
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.apis import APIS
from l4proxy.protocols.kafka.declarations.cluster import API_VERSIONS
from l4proxy.protocols.kafka.splice import splice
from l4proxy.protocols.kafka.versions import cap, encode_refusal


def versions(key: int) -> tuple[int, int] | None:
    api = APIS.get(key)
    return None if api is None or key % 5 == 4 else (api.first, api.last)


def capped(keys: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for one in keys:
        allowed = versions(one["api_key"])
        if allowed is not None:
            first, last = max(allowed[0], one["min_version"]), min(allowed[1], one["max_version"])
            if first <= last:
                found.append({**one, "min_version": first, "max_version": last})
    return found


KEYS = st.fixed_dictionaries(
    {"api_key": st.integers(-1, 100), "min_version": st.integers(0, 12), "max_version": st.integers(0, 20)}
)


@given(st.data(), st.integers(0, API_VERSIONS.last), st.lists(KEYS, max_size=200))
def test_both_sides_have_to_understand(data: st.DataObject, version: int, keys: list[dict[str, Any]]) -> None:
    values = data.draw(message(API_VERSIONS, version, "response"))
    values |= {"api_keys": keys, "error_code": 0}
    encoded = plain.encode(API_VERSIONS.response, version, values)
    padded = b"\xff" * 7 + encoded + b"\xff" * 9
    stop = 7 + len(encoded)
    new = splice(padded, 7, stop, cap(version, padded, 7, stop, versions))
    before = plain.decode(API_VERSIONS.response, version, encoded)
    assert plain.decode(API_VERSIONS.response, version, new) == {**before, "api_keys": capped(keys)}


def test_nothing_to_change_is_no_change() -> None:
    keys = [{"api_key": key, "min_version": 0, "max_version": 0} for key in (0, 1, 3)]
    encoded = plain.encode(API_VERSIONS.response, 3, {"api_keys": keys})
    assert cap(3, encoded, 0, len(encoded), versions) == []


def test_an_old_brokers_refusal_is_read_as_such() -> None:
    """KIP-511: whatever was asked, the answer is of version 0."""
    keys = [{"api_key": 18, "min_version": 0, "max_version": 2}]
    encoded = plain.encode(API_VERSIONS.response, 0, {"error_code": 35, "api_keys": keys})
    assert cap(4, encoded, 0, len(encoded), lambda key: (0, 1)) == [(8, 12, b"\0\0\0\1")]


def test_a_refusal_that_cannot_be_read_passes() -> None:
    """What librdkafka's mock cluster answers: of version 3 in parts. Clients look at the error code."""
    assert cap(3, bytes.fromhex("00230100120000000200000000"), 0, 13, versions) == []


def test_our_own_refusal() -> None:
    frame = encode_refusal(77)
    assert frame[:8] == (len(frame) - 4).to_bytes(4, "big") + (77).to_bytes(4, "big")
    assert plain.decode(API_VERSIONS.response, 0, frame[8:]) == {
        "error_code": 35,
        "api_keys": [{"api_key": 18, "min_version": 0, "max_version": 4}],
    }
