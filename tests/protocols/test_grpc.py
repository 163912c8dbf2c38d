from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.grpc import (
    Base64Reader,
    GrpcStatus,
    MessageReader,
    encode_message,
    encode_timeout,
    http_status_of,
    is_failure,
    is_grpc,
    is_grpc_web,
    method_of,
    read_timeout,
    status_name,
    status_of_http,
    web_trailers,
)


@pytest.mark.parametrize(
    ("content_type", "grpc", "web"),
    [
        ("application/grpc", True, False),
        ("application/grpc+proto", True, False),
        ("application/grpc;x=y", True, False),
        ("application/grpc-web", False, True),
        ("application/grpc-web-text+proto", False, True),
        ("application/grpcish", False, False),
        ("application/json", False, False),
        (None, False, False),
    ],
)
def test_content_types(content_type: str | None, grpc: bool, web: bool) -> None:
    assert (is_grpc(content_type), is_grpc_web(content_type)) == (grpc, web)


def test_every_status_is_one_of_http() -> None:
    blamed = {status: http_status_of(status.name) // 100 for status in GrpcStatus}
    assert blamed.pop(GrpcStatus.OK) == 2
    assert {status.name for status, digit in blamed.items() if digit == 5} == {
        "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"
    }  # fmt: skip
    assert set(blamed.values()) == {4, 5}


def test_which_statuses_blame_the_service() -> None:
    failures = {status.name for status in GrpcStatus if is_failure(str(int(status)))}
    assert failures == {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
    assert all(map(is_failure, ("", "17", "OK", "00", " 0")))


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/shop.v1.Orders/Get", ("shop.v1.Orders", "Get")),
        ("/Orders/Get", ("Orders", "Get")),
        ("/a/b/c", None),
        ("/Get", None),
        ("//Get", None),
        ("/a..b/Get", None),
        ("/a.b/Get?x", None),
        ("/a.b/1", None),
    ],
)
def test_methods(path: str, method: tuple[str, str] | None) -> None:
    assert method_of(path) == method


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1H", 3600), ("2M", 120), ("3S", 3), ("4m", 0.004), ("5u", 5e-6), ("6n", 6e-9), ("99999999S", 99999999),
     ("", None), ("1", None), ("S", None), ("-1S", None), ("1.5S", None), ("100000000n", None), ("1s", None)],
)  # fmt: skip
def test_timeouts(value: str, seconds: float | None) -> None:
    assert read_timeout(value) == (None if seconds is None else pytest.approx(seconds))


@given(st.floats(1e-6, 1e6))
def test_timeouts_are_written_as_exactly_as_eight_digits_can(seconds: float) -> None:
    again = read_timeout(encode_timeout(seconds))
    assert again is not None
    assert again <= seconds * (1 + 1e-9)
    assert again == pytest.approx(seconds, rel=1e-4, abs=1e-9)


def test_messages_are_percent_encoded() -> None:
    assert encode_message("no such thing: 100%\n\xe4") == "no such thing: 100%25%0A%C3%A4"


def test_statuses() -> None:
    assert (status_name("14"), status_name("0"), status_name("99"), status_name(None)) == (
        "UNAVAILABLE", "OK", "UNKNOWN", "UNKNOWN",
    )  # fmt: skip
    assert (status_of_http(404), status_of_http(418)) == (GrpcStatus.UNIMPLEMENTED, GrpcStatus.UNKNOWN)


@given(st.lists(st.integers(0, 300), max_size=20), st.randoms())
def test_messages_are_counted_however_the_bytes_come(sizes: list[int], rng: random.Random) -> None:
    body = b"".join(b"\0" + size.to_bytes(4, "big") + bytes(size) for size in sizes)
    seen: list[int] = []
    reader = MessageReader(seen.append)
    at = 0
    while at < len(body):
        step = rng.randint(1, 50)
        reader.feed(body[at : at + step])
        at += step
    assert seen == sizes


def test_where_a_message_ends() -> None:
    reader = MessageReader(lambda _size: None)
    said = [reader.between]
    for octet in b"\0\0\0\0\2ab" + b"\0\0\0\0\0":
        reader.feed(bytes([octet]))
        said.append(reader.between)
    assert [at for at, between in enumerate(said) if between] == [0, 7, 12]


def test_the_last_frame_of_grpc_web() -> None:
    assert web_trailers([("grpc-status", "0"), ("x", "y")]) == b"\x80\0\0\0\x16grpc-status: 0\r\nx: y\r\n"
    with pytest.raises(ValueError, match="not the value"):
        web_trailers([("x", "a\r\nb: c")])


@given(st.lists(st.binary(max_size=30), max_size=8), st.randoms())
def test_base64_in_pieces_each_with_its_padding(pieces: list[bytes], rng: random.Random) -> None:
    text = b"".join(base64.b64encode(piece) for piece in pieces)
    reader = Base64Reader()
    decoded, at = b"", 0
    while at < len(text):
        step = rng.randint(1, 10)
        decoded += reader.feed(text[at : at + step])
        at += step
    reader.end()
    assert decoded == b"".join(pieces)


@pytest.mark.parametrize("text", [b"a", b"abc", b"a=bc", b"====", b"ab$d", b"ab=d"])
def test_what_is_no_base64(text: bytes) -> None:
    def read() -> None:
        reader = Base64Reader()
        reader.feed(text)
        reader.end()

    with pytest.raises(RemoteProtocolError) as caught:
        read()
    assert caught.value.code == "bad_base64"
