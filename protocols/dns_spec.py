"""A DNS message as a declaration, to be read: `dns` is tested against it."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["message_spec"]


@cache
def message_spec() -> Any:
    """RFC 1035 section 4. Compressed names are left as labels and pointers."""
    import construct as c

    label = c.Struct(
        "length" / c.Int8ub, "rest" / c.Switch(c.this.length >> 6, {0: c.Bytes(c.this.length), 3: c.Int8ub})
    )
    # A length of 0 is the root; one of 192 and more is the upper half of a pointer. Both end a name.
    name = c.RepeatUntil(lambda label, _labels, _context: label.length == 0 or label.length >= 0xC0, label)
    flags = c.BitStruct(
        "response" / c.Flag,
        "opcode" / c.Nibble,
        "authoritative" / c.Flag,
        "truncated" / c.Flag,
        "recursion_desired" / c.Flag,
        "recursion_available" / c.Flag,
        "reserved" / c.BitsInteger(3),
        "rcode" / c.Nibble,
    )
    question = c.Struct("name" / name, "type" / c.Int16ub, "class" / c.Int16ub)
    record = c.Struct(
        "name" / name,
        "type" / c.Int16ub,
        "class" / c.Int16ub,
        "ttl" / c.Int32ub,
        "data" / c.Prefixed(c.Int16ub, c.GreedyBytes),
    )
    return c.Struct(
        "id" / c.Int16ub,
        "flags" / flags,
        "question_count" / c.Int16ub,
        "answer_count" / c.Int16ub,
        "authority_count" / c.Int16ub,
        "additional_count" / c.Int16ub,
        "questions" / question[c.this.question_count],
        "answers" / record[c.this.answer_count],
        "authorities" / record[c.this.authority_count],
        "additionals" / record[c.this.additional_count],
        c.Terminated,
    )
