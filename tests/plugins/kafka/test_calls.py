"""Every API in every version, with whatever is in it and whatever is wrong with it: the conversation goes on."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_messages import DECLARED, message
from kafka_speech import Speech
from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api

VERSIONS = [(api, version) for api in DECLARED for version in range(api.first, api.last + 1)]


def frames(api: Api, version: int, request: bytes, response: bytes) -> tuple[bytes, bytes]:
    head = struct.pack(">hhih", api.key, version, 1, 1) + b"x" + b"\0" * (api.request_header(version) == 2)
    back = struct.pack(">i", 1) + b"\0" * api.response_header(version)
    return tuple(struct.pack(">i", len(data)) + data for data in (head + request, back + response))  # type: ignore[return-value]


@given(st.data(), st.sampled_from(VERSIONS), st.booleans())
@settings(max_examples=400)
def test_whatever_is_said(data: st.DataObject, which: tuple[Api, int], damaged: bool) -> None:
    api, version = which
    said = []
    for kind in ("request", "response"):
        values: dict[str, Any] = data.draw(message(api, version, kind))
        encoded = bytearray(plain.encode(getattr(api, kind), version, values))
        if damaged and encoded:
            for at, value in data.draw(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from([0, 1, 127, 255])))):
                encoded[at % len(encoded)] = value
        said.append(bytes(encoded))
    speech = Speech()
    client = speech.client()
    request, response = frames(api, version, *said)
    try:
        client.conversation.client_data(request, 0.0)
        client.conversation.server_data(response, 0.0)
    except RemoteProtocolError:
        assert damaged
    if not damaged:
        assert speech.values("undecodable_frames_total") == {}
    for exchange in speech.exchanges:
        assert exchange.line()
        assert exchange.fields() is not None
    speech.registry.snapshot()
    for table in speech.inspector.tables():
        list(table.rows())
    client.close()


@pytest.mark.parametrize("version", [8, 9])
def test_null_where_there_should_be_an_array(version: int) -> None:
    (api,) = (api for api in DECLARED if api.name == "Produce")
    null = b"\0" if version == 9 else b"\xff" * 4
    request = (
        b"\0" * (version == 9) + b"\xff\xff" * (version < 9) + struct.pack(">hi", 1, 1) + null + b"\0" * (version == 9)
    )
    response = null + struct.pack(">i", 0) + b"\0" * (version == 9)
    speech = Speech()
    client = speech.client()
    asked, answered = frames(api, version, request, response)
    client.conversation.client_data(asked, 0.0)
    client.conversation.server_data(answered, 0.0)
    assert [exchange.kind for exchange in speech.exchanges] == ["Produce"]
    assert speech.values("undecodable_frames_total") == {}
