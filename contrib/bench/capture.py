"""How fast does ``l4proxy sniff`` read a capture, and in how much memory?

python contrib/bench/capture.py
python contrib/bench/capture.py --megabytes 5000 --protocol kafka
python contrib/bench/capture.py --protocol kafka --pcap FILE --port 9092
python contrib/bench/capture.py --live 50000 100000 --protocol kafka     # as root, in a network namespace of its own

Without a file, one is made and read from a pipe, so that no disk has to hold it: 50 clients that send requests of
16 KiB in segments of 1448 bytes, with an acknowledgement for every two of them and a short answer (with ``--protocol
kafka``: Produce requests, and their responses). What
``l4proxy sniff`` takes for nothing (an empty capture) is taken off. Rounds take turns; the median is printed.

Live, so many packets a second are sent for five seconds (by ``packets.c``): Produce requests of one record, of the same
clients, and their responses. What matters is how many of them were seen.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from programs import compile_program

CLIENTS, SEGMENT, REQUEST, ANSWER = 50, 1448, 16384, 100
SYN, ACK, PUSH = 2, 16, 24
PACKET = 16
"""Where in a record the packet begins."""
LIVE_SECONDS = 5
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


class Figures(NamedTuple):
    """CPU seconds, and the most memory there was, in bytes."""

    seconds: float
    memory: int


class Traffic:
    """Records of a capture, with the time and the sequence numbers going on."""

    def __init__(self) -> None:
        self.micros = 0
        self.packets = 0
        self.seqs = [[1000, 5000] for _ in range(CLIENTS)]

    def record(self, client: int, side: int, flags: int, payload: bytes = b"") -> bytes:
        self.micros += 10
        self.packets += 1
        ports = (9092, 40000 + client) if side else (40000 + client, 9092)
        hosts = [b"\x0a\0\0\1", bytes([10, 0, 1, client])][:: 1 if side else -1]
        seq, ack = (self.seqs[client][at] & 0xFFFFFFFF for at in (side, 1 - side))
        tcp = struct.pack("!HHIIBBHI12x", *ports, seq, ack, 8 << 4, flags, 500, 0)
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 52 + len(payload), 0, 0x4000, 64, 6, 0, *hosts)
        size = 66 + len(payload)
        self.seqs[client][side] += len(payload) + (flags & SYN) // SYN
        when = divmod(self.micros, 1_000_000)
        return struct.pack("<IIII", *when, size, size) + bytes(12) + b"\x08\0" + ip + tcp + payload

    def handshakes(self) -> Iterator[bytes]:
        for client in range(CLIENTS):
            yield self.record(client, 0, SYN) + self.record(client, 1, SYN | ACK)

    def requests(self, body: bytes, answer: bytes) -> Iterator[bytes]:
        """A request of every client, and its answer."""
        for client in range(CLIENTS):
            parts = []
            for number, start in enumerate(range(0, len(body), SEGMENT)):
                parts.append(self.record(client, 0, PUSH, body[start : start + SEGMENT]))
                if number % 2:
                    parts.append(self.record(client, 1, ACK))
            parts += [self.record(client, 1, PUSH, answer), self.record(client, 0, ACK)]
            yield b"".join(parts)


def write(fd: int, size: int, traffic: Traffic, body: bytes, answer: bytes) -> None:
    """A capture of ``size`` bytes, into a pipe."""
    written = len(HEADER)
    with os.fdopen(fd, "wb", 1 << 20) as pipe:
        pipe.write(HEADER)
        for records in traffic.handshakes():
            written += pipe.write(records)
        while written < size:
            for records in traffic.requests(body, answer):
                written += pipe.write(records)


def sniff(*words: str, stdin: int | None = None) -> Figures:
    """Run ``l4proxy sniff`` to its end."""
    plugins = Path(__file__).with_name("plugins")
    command = [sys.executable, "-m", "l4proxy", "sniff", *words, "--quiet", "--plugin-dir", str(plugins)]
    process = subprocess.Popen(command, stdin=stdin, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(said)
    return Figures(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def made(protocol: str, size: int) -> tuple[Figures, int]:
    """Of a capture that is made while it is read; and how many packets it has."""
    read, into = os.pipe()
    traffic = Traffic()
    messages = produced(REQUEST) if protocol == "kafka" else (bytes(REQUEST), bytes(ANSWER))
    writer = threading.Thread(target=write, args=(into, size, traffic, *messages))
    writer.start()
    figures = sniff(protocol, "--pcap", "-", "--port", "9092", stdin=read)
    os.close(read)
    writer.join()
    return figures, traffic.packets


def live(protocol: str, rate: int, program: Path) -> None:
    """In a network namespace: send packets on one end of a pair of interfaces, capture them on the other."""
    packets = program.with_suffix(".file")
    with packets.open("wb") as file:
        for some in produce(rate * LIVE_SECONDS):
            file.writelines(part for packet in some for part in (struct.pack("=I", len(packet)), packet))
    plugins = Path(__file__).with_name("plugins")
    words = ["sniff", protocol, "--interface", "there", "--port", "9092", "--quiet", "--plugin-dir", str(plugins)]
    process = subprocess.Popen([sys.executable, "-m", "l4proxy", *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    said = process.stderr.readline()
    with packets.open("rb") as file:
        done = subprocess.run([program, "here", str(rate)], stdin=file, stdout=subprocess.PIPE, check=True)
    packets.unlink()
    sent, seconds = json.loads(done.stdout).values()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    said += process.stderr.read()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    found = dict(re.findall(r"^(packets|dropped) +([\d,]+)", said, re.MULTILINE))
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{sent:,} packets sent in {seconds:.1f} s, {sent / seconds:,.0f} per second: {found.get('packets', '0')} seen,"
        f" {found.get('dropped', '0')} dropped; {cpu / seconds:.0%} of a core, start included"
    )


def in_namespace(protocol: str, rates: list[int]) -> None:
    """The interfaces, and one run for each rate."""
    for words in ("link add here type veth peer name there", "link set here up", "link set there up"):
        subprocess.run(["ip", *words.split()], check=True)
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "packets"
        compile_program("packets.c", program)
        for rate in rates:
            live(protocol, rate, program)


def produced(size: int) -> tuple[bytes, bytes]:
    """A Produce request of one record of ``size`` bytes, and its response."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
    from kafka_messages import batch, request, response

    topic = {"name": "bench", "partition_data": [{"index": 0, "records": batch(1, value=bytes(size))}]}
    answer = {"name": "bench", "partition_responses": [{"index": 0, "base_offset": 1}]}
    return request("Produce", 9, 1, acks=1, topic_data=[topic]), response("Produce", 9, 1, responses=[answer])


def produce(count: int) -> Iterator[list[bytes]]:
    """Packets of Kafka clients: handshakes first, then requests and responses; ``count`` of them, or a few more."""
    traffic = Traffic()
    messages = produced(100)
    yield [
        traffic.record(client, side, flags)[PACKET:]
        for client in range(CLIENTS)
        for side, flags in ((0, SYN), (1, SYN | ACK))
    ]
    while traffic.packets < count:
        yield [
            traffic.record(client, side, PUSH, messages[side])[PACKET:] for client in range(CLIENTS) for side in (0, 1)
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pcap", metavar="FILE", type=Path, help="a capture to read, in place of one that is made")
    parser.add_argument("--port", default="9092", help="the servers' port in it (default 9092)")
    parser.add_argument("--protocol", default="bench_bytes", help="an inspector (default: one that does nothing)")
    parser.add_argument("--megabytes", type=int, default=300, help="size of the capture that is made (default 300)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--live", metavar="N", type=int, nargs="+", help="capture N packets a second on an interface")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.live:
        if not args.inside:
            sys.exit(subprocess.run(["unshare", "--net", sys.executable, *sys.argv, "--inside"]).returncode)
        in_namespace(args.protocol, args.live)
        return
    rounds = []
    packets = 0
    for _ in range(args.rounds):
        read, into = os.pipe()
        os.write(into, HEADER)
        os.close(into)
        nothing = sniff(args.protocol, "--pcap", "-", stdin=read)
        os.close(read)
        if args.pcap:
            size, figures = (
                args.pcap.stat().st_size,
                sniff(args.protocol, "--pcap", str(args.pcap), "--port", args.port),
            )
        else:
            size = args.megabytes * 1_000_000
            figures, packets = made(args.protocol, size)
        rounds.append((figures.seconds - nothing.seconds, figures.memory))
    seconds = statistics.median(seconds for seconds, _ in rounds)
    print(
        f"{size / 1e6 / seconds:.0f} MB per second of CPU, {max(memory for _, memory in rounds) / 1e6:.0f} MB of memory"
    )
    if packets:
        print(f"{seconds / packets * 1e6:.2f} microseconds per packet, of {size / packets:.0f} bytes on average")


if __name__ == "__main__":
    main()
