"""From captured packets to conversations: what sources that capture have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields

from l4proxy.filter import Peer
from l4proxy.inspector import Link
from l4proxy.plugins.sniff.sight import Sight
from l4proxy.protocols.capture.packet import TcpFinder
from l4proxy.protocols.capture.pcap import Packet
from l4proxy.protocols.capture.tcp import TcpReassembler
from l4proxy.protocols.capture.tcp_state import Endpoint, Receiver, TcpCounts
from l4proxy.stats import LabelledCounter, Stats, counter, gauge, labelled_counter

__all__ = ["CaptureStats", "Streams"]

MOST_PORTS = 1000


class CaptureStats(Stats, subsystem="capture"):
    """What `l4proxy sniff` captured, or read from a capture."""

    packets_total = counter("Packets.")
    dropped_packets_total = counter("Packets that the kernel, or whoever captured, had no room for.")
    ignored_packets_total = labelled_counter("Packets without TCP that can be read, by reason.", label="reason")
    tcp_events_total = labelled_counter(
        "What happened in TCP: retransmitted, out_of_order, overlapping, keep_alives, gaps ...", label="event"
    )
    tcp_lost_bytes_total = counter("Bytes of TCP connections that were not captured.")
    tcp_connections = gauge("TCP connections that are known, those included that ended a short while ago.")
    tcp_waiting_bytes = gauge("Memory of what waits for missing segments.")


class Streams:
    """Puts packets together to connections, and gives them to a sight. ``ports`` are those of servers; empty: any."""

    def __init__(self, sight: Sight, ports: Iterable[int]) -> None:
        self._sight = sight
        self._ports = frozenset(ports)
        self._finder = TcpFinder()
        self._tcp = TcpReassembler(self._begin, self._ports.__contains__)
        self._numbers = 0
        self.other_ports: Counter[int] = Counter()
        """Connections to other ports, by port: they are not looked into."""
        self.stats = sight.registry.group(CaptureStats)
        self.began = self.at = 0.0
        """The times of the first and of the last packet."""
        sight.registry.on_collect(self._collect)

    @property
    def counts(self) -> TcpCounts:
        return self._tcp.counts

    @property
    def packets(self) -> int:
        return self.stats.packets_total

    @property
    def watched(self) -> int:
        """Connections that were looked into."""
        return self._numbers

    @property
    def ignored(self) -> int:
        """Packets that are not looked into."""
        return self._finder.ignored.total()

    def take(self, packets: Iterable[Packet]) -> None:
        """The hot loop: everything that was captured goes through it."""
        find, segment, count, at = self._finder.find, self._tcp.segment, 0, self.at
        if not self.began:
            packets = self._from_first(packets)
        for at, link_type, data, start, end, length in packets:
            count += 1
            found = find(link_type, data, start, end, length)
            if found is not None:
                key, tcp, captured_end, whole_end = found
                segment(key, data, tcp, captured_end, whole_end, at)
        self.at = at
        self.stats.packets_total += count

    def _from_first(self, packets: Iterable[Packet]) -> Iterator[Packet]:
        for packet in packets:
            self.began = self.began or packet[0]
            yield packet

    def finish(self) -> None:
        """There are no more packets."""
        self._tcp.finish(self.at)

    def _begin(self, client: Endpoint, server: Endpoint, midway: bool, at: float) -> Receiver:
        if self._ports and server.port not in self._ports:
            if len(self.other_ports) < MOST_PORTS or server.port in self.other_ports:
                self.other_ports[server.port] += 1
            return _NOBODY
        self._numbers += 1
        here, there = Peer(client.host, client.port), Peer(server.host, server.port)
        return self._sight.connection(Link(self._numbers, here, there, midway=midway), at)

    def _collect(self) -> None:
        counts, stats = self._tcp.counts, self.stats
        stats.tcp_lost_bytes_total = counts.lost_bytes
        stats.tcp_connections = self._tcp.connections
        stats.tcp_waiting_bytes = self._tcp.waiting_bytes
        for field in fields(counts):
            if field.name != "lost_bytes":
                _raise_to(stats.tcp_events_total, field.name, getattr(counts, field.name))
        for reason, number in self._finder.ignored.items():
            _raise_to(stats.ignored_packets_total, reason, number)


def _raise_to(counter: LabelledCounter, label: str, number: int) -> None:
    if number > counter[label]:
        counter.add(label, number - counter[label])


class _Nobody:
    """Takes the bytes of connections that are not looked into."""

    def ignore(self, *_: object) -> None: ...

    client_data = server_data = client_eof = server_eof = client_lost = server_lost = failed = close = ignore


_NOBODY = _Nobody()
