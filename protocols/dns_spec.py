"""A DNS message as a declaration, to be read: `dns` is tested against it. Compressed names are left as labels and
pointers."""

from __future__ import annotations

from construct import (
    BitsInteger,
    BitStruct,
    Bytes,
    Flag,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32ub,
    Nibble,
    Prefixed,
    RepeatUntil,
    Struct,
    Switch,
    Terminated,
    this,
)

__all__ = ["MESSAGE"]

LABEL = Struct(
    "length" / Int8ub,
    "rest" / Switch(this.length >> 6, {0: Bytes(this.length), 3: Int8ub}),
)
"""A length of 0 is the root and ends the name; one of 192 and more is the upper half of a pointer, which ends it
too."""

NAME = RepeatUntil(lambda label, _labels, _context: label.length == 0 or label.length >= 0xC0, LABEL)

FLAGS = BitStruct(
    "response" / Flag,
    "opcode" / Nibble,
    "authoritative" / Flag,
    "truncated" / Flag,
    "recursion_desired" / Flag,
    "recursion_available" / Flag,
    "reserved" / BitsInteger(3),
    "rcode" / Nibble,
)
QUESTION = Struct("name" / NAME, "type" / Int16ub, "class" / Int16ub)
RECORD = Struct(
    "name" / NAME,
    "type" / Int16ub,
    "class" / Int16ub,
    "ttl" / Int32ub,
    "data" / Prefixed(Int16ub, GreedyBytes),
)

MESSAGE = Struct(
    "id" / Int16ub,
    "flags" / FLAGS,
    "question_count" / Int16ub,
    "answer_count" / Int16ub,
    "authority_count" / Int16ub,
    "additional_count" / Int16ub,
    "questions" / QUESTION[this.question_count],
    "answers" / RECORD[this.answer_count],
    "authorities" / RECORD[this.authority_count],
    "additionals" / RECORD[this.additional_count],
    Terminated,
)
