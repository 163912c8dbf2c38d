"""DNS messages: questions out, answers in (RFC 1035, EDNS0 of RFC 6891, SRV of RFC 2782).

What a small resolver needs and no more. ``dns_spec`` declares the message a second time: slower, but in one look.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.dns_name import Names, canonical_name, encode_name
from l4proxy.protocols.ip import ip_text

__all__ = [
    "CNAMES_LIMIT",
    "RECORDS_LIMIT",
    "Answer",
    "Rcode",
    "Record",
    "RecordType",
    "Response",
    "Srv",
    "encode_query",
    "find_answer",
    "is_reply",
    "read_response",
]

UDP_SIZE = 1232
"""Default for the bytes of a datagram that we are ready to receive: what passes everywhere in one piece (DNS flag day
2020)."""
RECORDS_LIMIT = 1024
"""Records in one message."""
CNAMES_LIMIT = 16
"""Aliases between a name and its answer."""

_HEADER = struct.Struct("!HHHHHH")
_QUESTION_END = struct.Struct("!HH")
_RECORD_HEAD = struct.Struct("!HHIH")
_SRV_HEAD = struct.Struct("!HHH")
_RESPONSE, _RESPONSE_MASK, _TRUNCATED, _RECURSION_DESIRED = 0x8000, 0xF800, 0x0200, 0x0100
_INTERNET = 1
_MAX_TTL = 0x7FFFFFFF


class RecordType(IntEnum):
    """The types that are read; all others are kept as bytes."""

    A = 1
    CNAME = 5
    SOA = 6
    AAAA = 28
    SRV = 33
    OPT = 41


class Rcode(IntEnum):
    """What a server says about the question (RFC 1035 section 4.1.1); it may say others."""

    NO_ERROR = 0
    FORMAT_ERROR = 1
    SERVER_FAILURE = 2
    NAME_ERROR = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5
    BAD_VERSION = 16


@dataclass(frozen=True, slots=True)
class Srv:
    """One server of a service. A ``target`` of ``""`` says that the service is not to be had there."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Record:
    """``data`` is an address (A, AAAA), a name (CNAME), a number of seconds (SOA: how long its zone says that a "no"
    holds), an ``Srv``, or the bytes of any other type. Names are in lower case, without the last dot. ``ttl`` is in
    seconds."""

    name: str
    type: int
    ttl: int
    data: str | int | Srv | bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered. One that is ``truncated`` has no records: ask again over TCP."""

    rcode: int
    truncated: bool
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The records that were asked for, of ``name`` (the end of a chain of aliases). ``ttl`` is the lowest on the way;
    None when there are no records and the zone does not say how long that holds."""

    name: str
    records: tuple[Record, ...]
    ttl: int | None


def encode_query(message_id: int, name: str, record_type: int, *, udp_size: int = UDP_SIZE) -> bytes:
    """A question, recursion desired. Raises LocalProtocolError for what is not a domain name.

    ``message_id`` should be random. A ``udp_size`` of 0 leaves EDNS0 out, for a server that finds fault with it. Over
    TCP the message is sent behind its length in two bytes.
    """
    question = encode_name(name) + _QUESTION_END.pack(record_type, _INTERNET)
    edns = b"\0" + _RECORD_HEAD.pack(RecordType.OPT, udp_size, 0, 0) if udp_size else b""
    return _HEADER.pack(message_id, _RECURSION_DESIRED, 1, 0, 0, 1 if edns else 0) + question + edns


def is_reply(data: bytes, query: bytes) -> bool:
    """Is this the reply to that query? Any other datagram is not for us: drop it and wait on (RFC 5452 section 9).

    A reply repeats the question; only one that reports an error may leave it out.
    """
    if data[:2] != query[:2] or data[2:3] < b"\x80":
        return False
    if data[4:6] == b"\0\0":
        return data[3] & 0x0F != Rcode.NO_ERROR
    name_end = query.index(b"\0", _HEADER.size) + 1
    question_end = name_end + _QUESTION_END.size
    return (
        data[4:6] == b"\0\1"
        and data[_HEADER.size : name_end].lower() == query[_HEADER.size : name_end].lower()
        and data[name_end:question_end] == query[name_end:question_end]
    )


def read_response(data: bytes) -> Response:
    """Read a whole message. Raises RemoteProtocolError (``code`` is ``dns_invalid``) where it is not in order."""
    if len(data) < _HEADER.size:
        raise _invalid("shorter than its header")
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(data)
    if flags & _RESPONSE_MASK != _RESPONSE:
        raise _invalid("not a response to a question")
    if questions > 1 or answers + authorities + additionals > RECORDS_LIMIT:
        raise _invalid(f"{questions} questions and {answers + authorities + additionals} records")
    rcode = flags & 0x0F
    if flags & _TRUNCATED:
        return Response(rcode, True)
    names, at = Names(data), _HEADER.size
    if questions:
        at = names.read(at)[1] + _QUESTION_END.size
    answer, at = _read_records(names, at, answers)
    authority, at = _read_records(names, at, authorities)
    additional, at = _read_records(names, at, additionals)
    if at != len(data):
        raise _invalid("shorter or longer than its records")
    edns = [record for record in additional if record.type == RecordType.OPT]
    if len(edns) > 1:
        raise _invalid("not in order: two OPT records")
    extended_rcode = edns[0].ttl >> 24 if edns else 0  # RFC 6891 section 6.1.3
    return Response(extended_rcode << 4 | rcode, False, answer, authority)


def _read_records(names: Names, at: int, count: int) -> tuple[tuple[Record, ...], int]:
    data, records = names.message, []
    for _ in range(count):
        name, at = names.read(at)
        start = at + _RECORD_HEAD.size
        if start > len(data):
            raise _invalid("too short")
        record_type, record_class, ttl, size = _RECORD_HEAD.unpack_from(data, at)
        at = start + size
        if at > len(data):
            raise _invalid("too short")
        if record_type == RecordType.OPT:
            records.append(Record(name, record_type, ttl, data[start:at]))  # its TTL is none, but flags
        elif record_class == _INTERNET:
            sane_ttl = ttl if ttl <= _MAX_TTL else 0  # RFC 2181 section 8
            records.append(Record(name, record_type, sane_ttl, _read_data(record_type, names, start, at)))
    return tuple(records), at


def _read_data(record_type: int, names: Names, start: int, end: int) -> str | int | Srv | bytes:
    data = names.message
    value: str | int | Srv
    match record_type:
        case RecordType.A | RecordType.AAAA:
            if end - start != (4 if record_type == RecordType.A else 16):
                raise _invalid("not in order: an address of the wrong size")
            return ip_text(data[start:end])
        case RecordType.CNAME:
            value, at = names.read(start)
        case RecordType.SRV:
            if end - start < _SRV_HEAD.size:
                raise _invalid("not in order: a service without a port")
            priority, weight, port = _SRV_HEAD.unpack_from(data, start)
            target, at = names.read(start + _SRV_HEAD.size)
            value = Srv(priority, weight, port, target)
        case RecordType.SOA:
            _, at = names.read(start)
            _, at = names.read(at)
            value, at = int.from_bytes(data[at + 16 : at + 20], "big"), at + 20
        case _:
            return data[start:end]
    if at != end:
        raise _invalid("not in order: a record of the wrong size")
    return value


def find_answer(response: Response, name: str, record_type: int) -> Answer:
    """The answer to the question for ``name``, found by following the aliases (CNAME) in the response.

    Raises RemoteProtocolError where they lead nowhere, and LocalProtocolError for what is no domain name.
    """
    name = canonical_name(name)
    aliases = {record.name: record for record in response.answers if record.type == RecordType.CNAME}
    ttls: list[int] = []
    for _ in range(CNAMES_LIMIT + 1):
        records = tuple(r for r in response.answers if r.name == name and r.type == record_type)
        if records:
            return Answer(name, records, min([*ttls, *(record.ttl for record in records)]))
        alias = aliases.get(name)
        if alias is None:
            return Answer(name, (), _negative_ttl(response, ttls))
        ttls.append(alias.ttl)
        name = str(alias.data)
    raise _invalid("full of aliases")


def _negative_ttl(response: Response, ttls: list[int]) -> int | None:
    """How long it holds that there is nothing (RFC 2308 section 5)."""
    for record in response.authorities:
        if record.type == RecordType.SOA and isinstance(record.data, int):
            return min(record.ttl, record.data, *ttls)
    return None


def _invalid(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"DNS: the message is {message}", code="dns_invalid")
