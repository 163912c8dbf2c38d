"""Where in a packet is TCP? From the link layer over IP to the header of a segment (RFC 791, RFC 8200, RFC 9293).

What is found is a place in the packet's buffer, and nothing is copied but the addresses. What is not TCP is counted.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["LINK_TYPES", "LinkType", "Segment", "TcpFinder", "endpoints", "reversed_key"]

Segment: TypeAlias = tuple[bytes, int, int, int]
"""Key, where the TCP header begins in the buffer, where what was captured of the segment ends, and where it would end
had all of it been captured. The key is the source's address, the destination's, and both ports, as on the wire."""


class LinkType:
    """Numbers of link layers (https://www.tcpdump.org/linktypes.html)."""

    NULL = 0
    ETHERNET = 1
    RAW_OF_OTHERS = (12, 14)
    RAW = 101
    LOOP = 108
    LINUX_SLL = 113
    IPV4 = 228
    IPV6 = 229
    LINUX_SLL2 = 276


_ETHERTYPES_OF_IP = (0x0800, 0x86DD)
_VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
_IP_HEAD = struct.Struct("!BxHxxHxB")
_SHORT = struct.Struct("!H")
_IPV6_HEAD = struct.Struct("!HB")
_TCP = 6
_MORE_OR_OFFSET = 0x3FFF
_TCP_HEADER = 20
_EXTENSIONS = {0, 43, 60, 135, 139, 140}
"""Headers of IPv6 that say their length in units of 8 bytes (RFC 8200 section 4)."""
_FRAGMENT, _AUTHENTICATION = 44, 51
MOST_EXTENSIONS = 16
MOST_TAGS = 4


class TcpFinder:
    """Finds TCP in packets. ``ignored`` counts what has none, by reason; ``link_types`` what cannot be read at all."""

    def __init__(self) -> None:
        self.ignored: Counter[str] = Counter()

    def find(self, link_type: int, data: bytes, start: int, end: int, length: int) -> Segment | None:
        """The segment in the packet at ``data[start:end]``, which was ``length`` bytes long on the wire."""
        try:
            if link_type == LinkType.ETHERNET:
                ip = start + 14
                if data[start + 12] != 8 or data[start + 13]:
                    ip = self._behind_tags(data, start + 12)
            else:
                ip = LINK_TYPES[link_type](data, start)
            if ip < 0:
                self.ignored["not_ip"] += 1
                return None
            version, total, fragment, protocol = _IP_HEAD.unpack_from(data, ip)
            if version == 0x45 and protocol == _TCP and not fragment & _MORE_OR_OFFSET:
                tcp = ip + 20
                whole = ip + total if total else start + length  # 0 where the system leaves it to the network card
                if end - tcp >= _TCP_HEADER <= whole - tcp:
                    return data[ip + 12 : ip + 24], tcp, end if end < whole else whole, whole
            return self._find_behind(data, ip, end, start + length)
        except (struct.error, IndexError):
            self.ignored["cut_short"] += 1
        except KeyError:
            self.ignored[f"link_type_{link_type}"] += 1
        return None

    def _behind_tags(self, data: bytes, at: int) -> int:
        """Where IP begins behind the tags of VLANs (IEEE 802.1Q); -1 where it does not."""
        for _ in range(MOST_TAGS + 1):
            (kind,) = _SHORT.unpack_from(data, at)
            if kind not in _VLAN_TAGS:
                return at + 2 if kind in _ETHERTYPES_OF_IP else -1
            at += 4
        return -1

    def _find_behind(self, data: bytes, ip: int, end: int, wire_end: int) -> Segment | None:
        """Whatever is not the usual: options, IPv6, fragments, and what is not TCP."""
        if data[ip] >> 4 == 6:
            return self._find_in_ipv6(data, ip, end, wire_end)
        version, total, fragment, protocol = _IP_HEAD.unpack_from(data, ip)
        header = (version & 0x0F) * 4
        if version >> 4 != 4 or header < 20:
            return self._ignore("not_ip")
        if protocol != _TCP:
            return self._ignore("not_tcp")
        if fragment & _MORE_OR_OFFSET:
            return self._ignore("fragment")
        tcp = ip + header
        key = data[ip + 12 : ip + 20] + data[tcp : tcp + 4]
        return self._segment(key, tcp, end, ip + total if total else wire_end)

    def _find_in_ipv6(self, data: bytes, ip: int, end: int, wire_end: int) -> Segment | None:
        size, header = _IPV6_HEAD.unpack_from(data, ip + 4)
        whole = ip + 40 + size if size else wire_end
        at = ip + 40
        for _ in range(MOST_EXTENSIONS):
            if header == _TCP:
                return self._segment(data[ip + 8 : ip + 40] + data[at : at + 4], at, end, whole)
            if header in _EXTENSIONS:
                header, at = data[at], at + data[at + 1] * 8 + 8
            elif header == _AUTHENTICATION:
                header, at = data[at], at + data[at + 1] * 4 + 8
            elif header == _FRAGMENT and not _SHORT.unpack_from(data, at + 2)[0] & 0xFFF9:
                header, at = data[at], at + 8  # an atomic fragment, all of it (RFC 6946)
            else:
                break
        return self._ignore("fragment" if header == _FRAGMENT else "not_tcp")

    def _segment(self, key: bytes, tcp: int, end: int, whole: int) -> Segment | None:
        if end - tcp < _TCP_HEADER or whole - tcp < _TCP_HEADER:
            return self._ignore("cut_short")
        return key, tcp, min(end, whole), whole

    def _ignore(self, reason: str) -> Segment | None:
        self.ignored[reason] += 1
        return None


def _raw(data: bytes, start: int) -> int:
    return start


def _null(data: bytes, start: int) -> int:
    """Four bytes say which family of addresses it is, in the byte order of whoever captured it. IP says it, too."""
    return start + 4


def _linux_sll(data: bytes, start: int) -> int:
    return start + 16 if _SHORT.unpack_from(data, start + 14)[0] in _ETHERTYPES_OF_IP else -1


def _linux_sll2(data: bytes, start: int) -> int:
    return start + 20 if _SHORT.unpack_from(data, start)[0] in _ETHERTYPES_OF_IP else -1


LINK_TYPES: dict[int, Callable[[bytes, int], int]] = {
    LinkType.NULL: _null,
    LinkType.LOOP: _null,
    LinkType.RAW: _raw,
    **dict.fromkeys(LinkType.RAW_OF_OTHERS, _raw),
    LinkType.IPV4: _raw,
    LinkType.IPV6: _raw,
    LinkType.LINUX_SLL: _linux_sll,
    LinkType.LINUX_SLL2: _linux_sll2,
}
"""Where IP begins in a packet of this link type; -1 where there is none. Ethernet is not in it: it is the usual one."""


def reversed_key(key: bytes) -> bytes:
    """The key of what comes back."""
    half = (len(key) - 4) // 2
    return key[half:-4] + key[:half] + key[-2:] + key[-4:-2]


def endpoints(key: bytes) -> tuple[bytes, int, bytes, int]:
    """Source address and port, destination address and port. The addresses are 4 or 16 bytes."""
    half = (len(key) - 4) // 2
    return key[:half], key[-4] << 8 | key[-3], key[half:-4], key[-2] << 8 | key[-1]
