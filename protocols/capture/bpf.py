"""A program by which the Linux kernel chooses packets: TCP to or from some ports (socket filters, "classic BPF").

It is for sockets that get packets from their IP header on (``AF_PACKET``, ``SOCK_DGRAM``), and so the same for every
kind of link. Offsets of the language are those of Linux' ``linux/filter.h``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

__all__ = ["PORTS_LIMIT", "tcp_program"]

PORTS_LIMIT = 100
"""Ports in one program: a jump goes 255 instructions far at most."""

_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20
_LOAD_HALF_INDEXED, _LOAD_HEADER_LENGTH = 0x48, 0xB1
_AND, _RETURN = 0x54, 0x06
_JUMP_IF_EQUAL, _JUMP_IF_SET = 0x15, 0x45
_PACKET_TYPE, _INTERFACE = 0xFFFFF004, 0xFFFFF008  # SKF_AD_OFF + SKF_AD_PKTTYPE, + SKF_AD_IFINDEX
_OUTGOING = 4
_TCP = 6
_EXTENSIONS = (0, 43, 44, 51, 60)

_Instruction = tuple[int, int, int, int]
"""Code, how many instructions to go on behind when true, and when false, operand."""


def tcp_program(ports: Sequence[int], *, snaplen: int = 262144, loopback: int = 0) -> bytes:
    """The instructions. They let TCP pass that comes from or goes to one of ``ports`` (none: any), fragments without a
    TCP header left out, IPv6 with extension headers whatever it is. ``snaplen`` bytes are kept of a packet.

    On the interface ``loopback`` each packet goes out and comes in: it is taken once. Raises ValueError for more than
    ``PORTS_LIMIT`` ports.
    """
    if len(ports) > PORTS_LIMIT:
        raise ValueError(f"{len(ports)} ports are too many (at most {PORTS_LIMIT})")
    accept: _Instruction = (_RETURN, 0, 0, snaplen)
    refuse: _Instruction = (_RETURN, 0, 0, 0)
    ipv4 = [
        (_LOAD_BYTE, 0, 0, 9),
        (_JUMP_IF_EQUAL, 1, 0, _TCP),
        refuse,
        (_LOAD_HALF, 0, 0, 6),
        (_JUMP_IF_SET, 0, 1, 0x1FFF),
        refuse,
        (_LOAD_HEADER_LENGTH, 0, 0, 0),
        *_ports_at(_LOAD_HALF_INDEXED, 0, ports),
        refuse,
        accept,
    ]
    ipv6 = [
        (_LOAD_BYTE, 0, 0, 6),
        *((_JUMP_IF_EQUAL, len(_EXTENSIONS) - at + 1, 0, header) for at, header in enumerate(_EXTENSIONS)),
        (_JUMP_IF_EQUAL, 2, 0, _TCP),
        refuse,
        accept,
        *_ports_at(_LOAD_HALF, 40, ports),
        refuse,
        accept,
    ]
    program = [
        (_LOAD_WORD, 0, 0, _PACKET_TYPE),
        (_JUMP_IF_EQUAL, 0, 3, _OUTGOING),
        (_LOAD_WORD, 0, 0, _INTERFACE),
        (_JUMP_IF_EQUAL, 0, 1, loopback),
        refuse,
        (_LOAD_BYTE, 0, 0, 0),
        (_AND, 0, 0, 0xF0),
        (_JUMP_IF_EQUAL, 0, len(ipv4), 0x40),
        *ipv4,
        (_JUMP_IF_EQUAL, 1, 0, 0x60),
        refuse,
        *ipv6,
    ]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _ports_at(load: int, offset: int, ports: Sequence[int]) -> list[_Instruction]:
    """Look at both ports, the first of which stands at ``offset``: a hit goes on behind the next instruction, anything
    else with it. Without ports everything is a hit."""
    if not ports:
        return [(_JUMP_IF_EQUAL, 1, 1, 0)]
    size = 2 * len(ports) + 2
    instructions: list[_Instruction] = []
    for place in (offset, offset + 2):
        instructions.append((load, 0, 0, place))
        for port in ports:
            instructions.append((_JUMP_IF_EQUAL, size - len(instructions), 0, port))
    return instructions
