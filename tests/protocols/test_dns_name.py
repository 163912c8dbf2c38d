from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.dns_name import POINTERS_LIMIT, Names, canonical_name, encode_name, read_name

LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("a.test", b"\1a\4test\0"),
        ("a.test.", b"\1a\4test\0"),
        ("_http._tcp.A.test", b"\5_http\4_tcp\1A\4test\0"),
        ("bücher.test", b"\x0dxn--bcher-kva\4test\0"),
        (LONGEST, b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\x3d" + b"d" * 61 + b"\0"),
    ],
)
def test_names(name: str, wire: bytes) -> None:
    assert encode_name(name) == wire
    assert read_name(wire, 0) == (canonical_name(name), len(wire))
    assert read_name(b"??" + wire + b"more", 2) == (canonical_name(name), 2 + len(wire))


@pytest.mark.parametrize(
    "name", ["", ".", "a..b", ".a", "a..", "a" * 64, "a." + LONGEST, LONGEST + "d", "a\0b", "ä" * 64]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        encode_name(name)


@pytest.mark.parametrize(
    ("message", "at", "name", "end"),
    [
        (b"\0", 0, "", 1),
        (b"\1a\0\1b\xc0\0", 3, "b.a", 7),
        (b"\1a\0\1b\xc0\0\xc0\3\xff", 7, "b.a", 9),
        (b"\4test\0\1a\xc0\0\xc0\6", 10, "a.test", 12),
        (b"\3A.\\\4\xff \0\x7f\0", 0, "a\\046\\092.\\255\\032\\000\\127", 10),
    ],
)
def test_pointers_and_special_bytes(message: bytes, at: int, name: str, end: int) -> None:
    assert read_name(message, at) == (name, end)


@pytest.mark.parametrize(
    "message",
    [b"", b"\1", b"\1a", b"\3ab", b"\xc0", b"\xc0\0", b"\xc0\2\0", b"\1a\xc0\0", b"\x40" + bytes(64), b"\x80\0"],
)
def test_damaged_names(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_name(message, 0)
    assert caught.value.code == "dns_invalid"


def test_a_name_has_at_most_255_bytes_also_when_it_is_put_together() -> None:
    tail = encode_name(LONGEST)
    assert read_name(tail + b"\xc0\0", len(tail))[0] == LONGEST
    with pytest.raises(RemoteProtocolError):
        read_name(tail + b"\1x\xc0\0", len(tail))


def test_the_number_of_pointers_is_limited() -> None:
    chain = b"\1a\0" + b"\xc0\0" + b"".join(b"\xc0" + bytes([3 + 2 * at]) for at in range(POINTERS_LIMIT))
    assert read_name(chain, 3 + 2 * (POINTERS_LIMIT - 1))[0] == "a"
    with pytest.raises(RemoteProtocolError):
        read_name(chain, 3 + 2 * POINTERS_LIMIT)


@given(
    st.lists(st.sampled_from([b"\0", b"\1a", b"\2bc", b"\x3f", b"\xc0", b"\xc1\0", b"\5"]), max_size=12),
    st.integers(0, 20),
)
def test_noise_is_read_as_glibc_reads_it_or_refused(pieces: list[bytes], at: int) -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "dn_expand"):
        pytest.skip("this C library has no dn_expand")
    message = b"".join(pieces)
    buffer = ctypes.create_string_buffer(message, len(message) or 1)
    start = ctypes.addressof(buffer)
    text = ctypes.create_string_buffer(1024)
    at = min(at, len(message))
    size = libc.dn_expand(
        ctypes.c_void_p(start), ctypes.c_void_p(start + len(message)), ctypes.c_void_p(start + at), text, 1024
    )
    try:
        name, end = read_name(message, at)
    except RemoteProtocolError:
        return
    # glibc escapes every special character, not only those that would make a name ambiguous: here there are none.
    if "\\" not in name:
        assert (name, end) == (text.value.decode().lower(), at + size)


PIECES = st.sampled_from([b"\1a", b"\0", b"\xc0\0", b"\xc0\2", b"\xc0\3", b"\xc0"])


@given(st.lists(PIECES, max_size=10).map(b"".join), st.data())
def test_names_are_read_alike_however_often(message: bytes, data: st.DataObject) -> None:
    names = Names(message)
    for at in sorted(data.draw(st.lists(st.integers(0, len(message)), max_size=10))):
        assert attempt(names.read, at) == attempt(partial(read_name, message), at)


def attempt(read: Callable[[int], tuple[str, int]], at: int) -> tuple[str, int] | None:
    try:
        return read(at)
    except RemoteProtocolError:
        return None
