from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.redis.limits import RedisLimits
from l4proxy.protocols.redis.values import (
    NULL_ARRAY,
    Failure,
    Incomplete,
    decode,
    encode,
)
from resp_cases import ANOTHER_SPELLING, VALUES, values

BAD: list[tuple[bytes, str]] = [
    (b"@1\r\n", "bad_type"),
    (b"\r\n", "bad_type"),
    (b"#x\r\n", "bad_type"),
    (b":1_0\r\n", "bad_number"),
    (b": 1\r\n", "bad_number"),
    (b",abc\r\n", "bad_number"),
    (b"$-2\r\n", "max_bulk"),
    (b"$600000000\r\n", "max_bulk"),
    (b"$x\r\n", "bad_number"),
    (b"$1\r\nabc", "bad_bulk"),
    (b"*3000000000\r\n", "max_elements"),
    (b"*-2\r\n", "max_elements"),
    (b"*1\r\n" * 129, "max_depth"),
    (b"+" + b"a" * (64 * 1024), "max_line"),
    (b":" + b"1" * 40, "max_line"),
    (b"%?\r\n:1\r\n.\r\n", "bad_stream"),
    (b"$?\r\n:1\r\n", "bad_stream"),
]


@pytest.mark.parametrize(("wire", "value", "resp2"), VALUES)
def test_every_type_there_and_back(wire: bytes, value: Any, resp2: bytes) -> None:
    decoded, end = decode(wire + b"rest")
    assert (decoded, type(decoded), end) == (value, type(value), len(wire))
    assert encode(decoded) == wire
    assert encode(decoded, 2) == resp2


@pytest.mark.parametrize(("wire", "value"), ANOTHER_SPELLING)
def test_other_ways_to_say_it(wire: bytes, value: Any) -> None:
    decoded, end = decode(wire)
    assert (decoded, type(decoded), end) == (value, type(value), len(wire))


@pytest.mark.parametrize("wire", [case[0] for case in (*VALUES, *ANOTHER_SPELLING)])
def test_a_part_is_incomplete(wire: bytes) -> None:
    for size in range(len(wire)):
        with pytest.raises(Incomplete):
            decode(wire[:size])


@pytest.mark.parametrize(("wire", "code"), BAD)
def test_what_is_no_resp(wire: bytes, code: str) -> None:
    with pytest.raises(RemoteProtocolError) as error:
        decode(wire)
    assert error.value.code == code


def test_what_is_no_value() -> None:
    with pytest.raises(LocalProtocolError):
        encode([1.5])


def test_a_null_array_is_sent_as_it_came() -> None:
    assert encode(NULL_ARRAY, 2) == b"*-1\r\n"
    assert encode([NULL_ARRAY], 3) == b"*1\r\n_\r\n"
    assert not NULL_ARRAY


def test_a_nan_is_a_double() -> None:
    value, _ = decode(b",nan\r\n")
    assert math.isnan(value)
    assert encode(value) == b",nan\r\n"


def test_a_failure_has_a_prefix() -> None:
    assert Failure(b"WRONGTYPE Operation").prefix == "WRONGTYPE"
    assert Failure(b"").prefix == ""


def test_a_line_cannot_be_broken_out_of() -> None:
    assert encode(Failure(b"ERR a\r\n+OK")) == b"-ERR a  +OK\r\n"


def test_limits_can_be_set() -> None:
    with pytest.raises(RemoteProtocolError, match="too deep"):
        decode(b"*1\r\n*1\r\n:1\r\n", 0, RedisLimits(max_depth=1))


@given(values())
def test_any_value_there_and_back(value: Any) -> None:
    wire = encode(value)
    decoded, end = decode(wire)
    assert (encode(decoded), end) == (wire, len(wire))
    plain, _ = decode(encode(value, 2))
    assert encode(plain, 2) == encode(value, 2)
