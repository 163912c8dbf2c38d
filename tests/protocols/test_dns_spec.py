from __future__ import annotations

from typing import Any

from construct import ConstructError, Container
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.dns import RecordType, encode_query, read_response
from l4proxy.protocols.dns_name import encode_name
from l4proxy.protocols.dns_spec import message_spec


def labels(name: str) -> list[dict[str, Any]]:
    parts = [part.encode() for part in name.split(".") if part] + [b""]
    return [Container(length=len(part), rest=part) for part in parts]


POINTER = [Container(length=0xC0, rest=12)]
FLAGS = {"opcode": 0, "authoritative": False, "recursion_desired": True, "reserved": 0, "rcode": 0}
QUESTION = {"name": labels("a.test"), "type": 1, "class": 1}


def build(**sections: list[dict[str, Any]]) -> bytes:
    full = {"questions": [QUESTION], "answers": [], "authorities": [], "additionals": [], **sections}
    names = {"questions": "question", "answers": "answer", "authorities": "authority", "additionals": "additional"}
    counts = {f"{names[section]}_count": len(records) for section, records in full.items()}
    response = "answers" in sections
    flags = FLAGS | {"response": response, "truncated": False, "recursion_available": response}
    built: bytes = message_spec().build({"id": 7, "flags": flags, **counts, **full})
    return built


def test_a_query_is_as_declared() -> None:
    edns = {"name": labels(""), "type": RecordType.OPT, "class": 1232, "ttl": 0, "data": b""}
    assert encode_query(7, "a.test", RecordType.A) == build(additionals=[edns])


TYPES = st.sampled_from([RecordType.A, RecordType.AAAA, RecordType.CNAME, RecordType.SRV, 16])
DATA = {RecordType.A: b"\xc0\0\2\1", RecordType.AAAA: bytes(16), RecordType.CNAME: encode_name("b.test"),
        RecordType.SRV: bytes(6) + encode_name("b.test"), 16: b"\1x"}  # fmt: skip
RECORDS = st.lists(st.tuples(st.booleans(), TYPES, st.integers(0, 0xFFFFFFFF)), max_size=6)


@given(RECORDS, RECORDS)
def test_what_is_declared_is_read(
    answers: list[tuple[bool, int, int]], authorities: list[tuple[bool, int, int]]
) -> None:
    def records(drawn: list[tuple[bool, int, int]]) -> list[dict[str, Any]]:
        return [
            {"name": POINTER if pointer else labels("c.test"), "type": kind, "class": 1, "ttl": ttl, "data": DATA[kind]}
            for pointer, kind, ttl in drawn
        ]

    response = read_response(build(answers=records(answers), authorities=records(authorities)))
    for read, drawn in ((response.answers, answers), (response.authorities, authorities)):
        assert [(one.name, one.type, one.ttl) for one in read] == [
            ("a.test" if pointer else "c.test", kind, ttl if ttl < 1 << 31 else 0) for pointer, kind, ttl in drawn
        ]


WHOLE = build(
    answers=[{"name": POINTER, "type": kind, "class": 1, "ttl": 5, "data": data} for kind, data in DATA.items()]
)


@given(st.integers(4, len(WHOLE) - 1), st.integers(0, 255))
def test_what_is_read_is_declared(at: int, byte: int) -> None:
    """The reader knows more of what must not be, and never takes what the declaration refuses."""
    damaged = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    try:
        response = read_response(damaged)
    except RemoteProtocolError:
        return
    try:
        declared = message_spec().parse(damaged)
    except ConstructError:
        raise AssertionError("read, but not as declared") from None
    internet = [one for one in declared.answers if one["class"] == 1 or one.type == RecordType.OPT]
    assert [one.type for one in response.answers] == [one.type for one in internet]
