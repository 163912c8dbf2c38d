from __future__ import annotations

import contextlib
import ctypes
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import LocalProtocolError, RemoteProtocolError
from l4proxy.protocols.dns import (
    CNAMES_LIMIT,
    RECORDS_LIMIT,
    Answer,
    Rcode,
    Record,
    RecordType,
    Response,
    Srv,
    encode_query,
    find_answer,
    is_reply,
    read_response,
)
from l4proxy.protocols.dns_name import encode_name

NAME = "a.test"
QUERY = encode_query(0x1234, NAME, RecordType.A)
A, AAAA, CNAME, SOA, SRV, TXT, OPT = 1, 28, 5, 6, 33, 16, 41


def record(name: bytes, kind: int, ttl: int, data: bytes, record_class: int = 1) -> bytes:
    return name + struct.pack("!HHIH", kind, record_class, ttl, len(data)) + data


def message(
    *answers: bytes,
    authorities: tuple[bytes, ...] = (),
    additionals: tuple[bytes, ...] = (),
    flags: int = 0x8180,
    questions: int = 1,
    counts: tuple[int, int, int] | None = None,
) -> bytes:
    sizes = counts or (len(answers), len(authorities), len(additionals))
    question = (encode_name(NAME) + b"\0\1\0\1") * questions
    return (
        struct.pack("!6H", 0x1234, flags, questions, *sizes)
        + question
        + b"".join((*answers, *authorities, *additionals))
    )


POINTER = b"\xc0\x0c"  # to the question's name
ADDRESS = record(POINTER, A, 60, b"\xc0\0\2\1")
SOA_DATA = POINTER + b"\3hub" + POINTER + struct.pack("!5I", 1, 2, 3, 4, 30)


def test_a_query() -> None:
    assert QUERY == b"\x12\x34\1\0\0\1\0\0\0\0\0\1" + b"\1a\4test\0\0\1\0\1" + b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    assert encode_query(0x1234, NAME, RecordType.A, udp_size=0) == QUERY[:10] + b"\0\0" + QUERY[12:-11]
    with pytest.raises(LocalProtocolError):
        encode_query(1, "a..test", RecordType.A)


@pytest.mark.parametrize("kind", [A, AAAA, SRV])
@pytest.mark.parametrize("name", ["a.test", "_http._tcp.Example.com"])
def test_a_query_is_what_glibc_would_ask(name: str, kind: int) -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "res_mkquery"):
        pytest.skip("this C library has no res_mkquery")
    buffer = ctypes.create_string_buffer(512)
    size = libc.res_mkquery(0, name.encode(), 1, kind, None, 0, None, buffer, 512)
    theirs = bytearray(buffer.raw[:size])
    theirs[3] &= ~0x20  # AD, where the system is set up to ask for it
    assert encode_query(int.from_bytes(theirs[:2], "big"), name, kind, udp_size=0) == bytes(theirs)


@pytest.mark.parametrize(
    ("data", "response"),
    [
        (message(), Response(0, False)),
        (message(questions=0, flags=0x8181), Response(Rcode.FORMAT_ERROR, False)),
        (message(flags=0x8183), Response(Rcode.NAME_ERROR, False)),
        (message(additionals=(record(b"\0", OPT, 0x01000000, b"", 1232),)), Response(Rcode.BAD_VERSION, False)),
        (message(additionals=(record(b"\0", OPT, 0x00008000, b"\0\1\0\0", 512),)), Response(0, False)),
        (message(ADDRESS), Response(0, False, (Record(NAME, A, 60, "192.0.2.1"),))),
        (message(record(b"\1A\4TEST\0", AAAA, 0, bytes(15) + b"\1")),
         Response(0, False, (Record(NAME, AAAA, 0, "::1"),))),
        (message(record(POINTER, A, 0x80000000, bytes(4))), Response(0, False, (Record(NAME, A, 0, "0.0.0.0"),))),
        (message(record(POINTER, CNAME, 5, b"\1b\xc0\x0e")), Response(0, False, (Record(NAME, CNAME, 5, "b.test"),))),
        (message(record(POINTER, SRV, 5, b"\0\1\0\2\0\3\1b\4test\0"), record(POINTER, SRV, 5, bytes(6) + b"\0")),
         Response(0, False, (Record(NAME, SRV, 5, Srv(1, 2, 3, "b.test")), Record(NAME, SRV, 5, Srv(0, 0, 0, ""))))),
        (message(record(POINTER, TXT, 5, b"\1x")), Response(0, False, (Record(NAME, TXT, 5, b"\1x"),))),
        (message(record(POINTER, A, 5, b"no address", record_class=3)), Response(0, False)),
        (message(authorities=(record(POINTER, SOA, 90, SOA_DATA),), additionals=(ADDRESS,)),
         Response(0, False, (), (Record(NAME, SOA, 90, 30),))),
        (message(flags=0x8380, counts=(9, 0, 0)) + b"cut anywhere", Response(0, True)),
    ],
)  # fmt: skip
def test_responses(data: bytes, response: Response) -> None:
    assert read_response(data) == response


BAD = {
    "empty": b"",
    "half a header": message()[:11],
    "a question": message(flags=0x0100),
    "a notification": message(flags=0xA000),
    "two questions": message(questions=2),
    "too many records": message(counts=(RECORDS_LIMIT, 0, 1)) + bytes(11 * (RECORDS_LIMIT + 1)),
    "no question where one is announced": message()[:12],
    "fewer records than announced": message(ADDRESS, counts=(2, 0, 0)),
    "more records than announced": message(ADDRESS, counts=(0, 0, 0)),
    "a byte too many": message(ADDRESS) + b"\0",
    "an IPv4 address of 5 bytes": message(record(POINTER, A, 1, bytes(5))),
    "an IPv6 address of 4 bytes": message(record(POINTER, AAAA, 1, bytes(4))),
    "an alias and more": message(record(POINTER, CNAME, 1, POINTER + b"\0")),
    "an alias of nothing": message(record(POINTER, CNAME, 1, b"")),
    "an alias that reaches out of its record": message(record(POINTER, CNAME, 1, b"\1"), ADDRESS),
    "a service of nothing": message(record(POINTER, SRV, 1, b"")),
    "a service without a port": message(record(POINTER, SRV, 1, bytes(5))),
    "a service without a target": message(record(POINTER, SRV, 1, bytes(6))),
    "a zone without times": message(record(POINTER, SOA, 1, POINTER * 2)),
    "a zone and more": message(record(POINTER, SOA, 1, SOA_DATA + b"\0")),
    "a name that points at itself": message(record(b"\xc0\x18", A, 1, bytes(4))),
    "a name that points forwards": message(record(b"\xc0\xff", A, 1, bytes(4))),
    "two OPT records": message(additionals=(record(b"\0", OPT, 0, b""),) * 2),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_what_is_not_in_order(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_response(data)
    assert caught.value.code == "dns_invalid"


WHOLE = message(
    record(POINTER, CNAME, 5, b"\1b\xc0\x0e"),
    record(b"\1b\xc0\x0e", A, 60, b"\xc0\0\2\1"),
    record(POINTER, SRV, 5, b"\0\1\0\2\0\3\1b\4test\0"),
    authorities=(record(POINTER, SOA, 90, SOA_DATA),),
    additionals=(record(b"\0", OPT, 0, b"", 1232),),
)


def test_a_message_that_is_cut_is_refused() -> None:
    read_response(WHOLE)
    for size in range(len(WHOLE)):
        with pytest.raises(RemoteProtocolError):
            read_response(WHOLE[:size])


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=5))
def test_damage_raises_nothing_else(damage: list[tuple[int, int]]) -> None:
    broken = bytearray(WHOLE)
    for at, byte in damage:
        broken[at] = byte
    assert_reads_or_refuses(bytes(broken))


@given(st.binary(max_size=200))
def test_noise_raises_nothing_else(noise: bytes) -> None:
    assert_reads_or_refuses(b"\0\0\x81\x80" + noise)


def assert_reads_or_refuses(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        find_answer(read_response(data), NAME, A)


# Replies


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message(ADDRESS), True),
        (message(flags=0x8380), True),
        (message(ADDRESS).replace(b"\1a\4test", b"\1A\4Test"), True),
        (message(questions=0, flags=0x8181), True),
        (message(questions=0, flags=0x8180), False),
        (b"\x12\x35" + message(ADDRESS)[2:], False),
        (message(ADDRESS, flags=0x0180), False),
        (message(ADDRESS).replace(b"\1a\4test", b"\1b\4test"), False),
        (message(ADDRESS).replace(b"\0\0\1\0\1", b"\0\0\x1c\0\1"), False),
        (message(questions=2), False),
        (message()[:12], False),
        (message()[:3], False),
        (QUERY, False),
        (b"", False),
    ],
)
def test_what_is_the_reply_to_a_query(data: bytes, expected: bool) -> None:
    assert is_reply(data, QUERY) is expected


@given(st.binary(max_size=40))
def test_noise_is_no_reply(noise: bytes) -> None:
    assert is_reply(noise, QUERY) is False
    assert is_reply(QUERY[:2] + b"\x81\x80" + noise, QUERY) is False


# Answers


def aliases(*names: str) -> tuple[Record, ...]:
    return tuple(Record(name, CNAME, 100 - at, target) for at, (name, target) in enumerate(itertools.pairwise(names)))


ADDRESSES = (Record("c.test", A, 50, "192.0.2.1"), Record("c.test", A, 70, "192.0.2.2"))


@pytest.mark.parametrize(
    ("answers", "name", "kind", "answer"),
    [
        (ADDRESSES, "C.test.", A, Answer("c.test", ADDRESSES, 50)),
        (ADDRESSES, "b.test", A, Answer("b.test", (), None)),
        (ADDRESSES, "c.test", AAAA, Answer("c.test", (), None)),
        (ADDRESSES + aliases("a.test", "b.test", "c.test"), "a.test", A, Answer("c.test", ADDRESSES, 50)),
        ((*ADDRESSES[1:], Record("b.test", CNAME, 9, "c.test")), "b.test", A, Answer("c.test", ADDRESSES[1:], 9)),
        (aliases("a.test", "b.test"), "a.test", A, Answer("b.test", (), None)),
        (aliases("a.test", "b.test"), "a.test", CNAME, Answer("a.test", aliases("a.test", "b.test"), 100)),
    ],
)
def test_answers(answers: tuple[Record, ...], name: str, kind: int, answer: Answer) -> None:
    assert find_answer(Response(0, False, answers), name, kind) == answer


def test_how_long_a_no_holds() -> None:
    def answer(*answers: Record, ttl: int, minimum: int) -> Answer:
        return find_answer(Response(3, False, answers, (Record("test", SOA, ttl, minimum),)), "a.test", A)

    assert answer(ttl=90, minimum=30).ttl == 30
    assert answer(ttl=20, minimum=30).ttl == 20
    assert answer(Record("a.test", CNAME, 7, "b.test"), ttl=20, minimum=30) == Answer("b.test", (), 7)


def test_aliases_are_followed_so_far_and_no_farther() -> None:
    names = [f"{at}.test" for at in range(CNAMES_LIMIT + 2)]
    end = Record(names[CNAMES_LIMIT], A, 1, "192.0.2.1")
    assert find_answer(Response(0, False, (*aliases(*names[:-1]), end)), names[0], A).records == (end,)
    with pytest.raises(RemoteProtocolError):
        find_answer(Response(0, False, aliases(*names)), names[0], A)
    with pytest.raises(RemoteProtocolError):
        find_answer(Response(0, False, aliases("a.test", "b.test", "a.test")), "a.test", A)
