from __future__ import annotations

from captures import Timed, Wire, ethernet, ipv4
from l4proxy.plugins.sniff.streams import MOST_PORTS, Streams
from sniffing import Seen, sight_of


def streams(*ports: int) -> tuple[Streams, Seen]:
    sight, seen = sight_of()
    return Streams(sight, ports), seen


def feed(one: Streams, frames: list[Timed]) -> None:
    one.take((at, 1, frame, 0, len(frame), len(frame)) for at, frame in frames)


def test_statistics() -> None:
    one, seen = streams(7777)
    wire = Wire()
    frames = [*wire.open(), *wire.say(0, b"QUIET a\n"), *wire.say(0, b"lost"), *wire.say(0, b"\nQUIET b\n")]
    del frames[5]
    udp = (1.0, ethernet(ipv4("192.0.2.1", "192.0.2.2", bytes(20), protocol=17)))
    feed(one, [*frames, frames[3], udp])
    one.finish()
    snapshot = seen_snapshot(one)
    assert seen.lines == ["QUIET asked=a", "QUIET asked=b"]
    assert snapshot["packets_total"] == len(frames) + 2
    assert snapshot["tcp_lost_bytes_total"] == 4
    assert snapshot["tcp_events_total"] == {"connections": 1, "out_of_order": 1, "retransmitted": 1, "gaps": 1}
    assert snapshot["ignored_packets_total"] == {"not_tcp": 1}
    assert seen_snapshot(one) == snapshot  # nothing is counted twice


def seen_snapshot(one: Streams) -> dict[str, object]:
    one._sight.registry.collect()
    stats = one.stats
    return {
        "packets_total": stats.packets_total,
        "tcp_lost_bytes_total": stats.tcp_lost_bytes_total,
        "tcp_events_total": dict(stats.tcp_events_total.values),
        "ignored_packets_total": dict(stats.ignored_packets_total.values),
    }


def test_the_times_of_what_was_seen() -> None:
    one, _ = streams()
    assert (one.began, one.at) == (0.0, 0.0)
    frames = [*Wire().open()]
    feed(one, [])
    feed(one, frames[:2])
    feed(one, frames[2:])
    assert (one.began, one.at) == (frames[0][0], frames[2][0])


def test_other_ports_are_counted_but_not_without_end() -> None:
    one, _ = streams(7777)
    for number in range(MOST_PORTS + 50):
        feed(one, [*Wire(port=10_000 + number).open()])
    feed(one, [*Wire(port=10_000, client_port=50_000).open()])
    assert len(one.other_ports) == MOST_PORTS
    assert one.other_ports[10_000] == 2
    assert one.watched == 0
