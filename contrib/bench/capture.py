"""How fast does ``l4proxy sniff`` read a capture, and in how much memory?

python contrib/bench/capture.py
python contrib/bench/capture.py --megabytes 5000
python contrib/bench/capture.py --protocol kafka --pcap FILE --port 9092

Without a file, one is made and read from a pipe, so that no disk has to hold it: 50 clients that send requests of
16 KiB in segments of 1448 bytes, with an acknowledgement for every two of them and a short answer. What
``l4proxy sniff`` takes for nothing (an empty capture) is taken off. Rounds take turns; the median is printed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CLIENTS, SEGMENT, REQUEST, ANSWER = 50, 1448, 16384, 100
SYN, ACK, PUSH = 2, 16, 24
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

    def requests(self) -> Iterator[bytes]:
        """A request of every client, and its answer."""
        body = bytes(REQUEST)
        for client in range(CLIENTS):
            parts = []
            for number, start in enumerate(range(0, REQUEST, SEGMENT)):
                parts.append(self.record(client, 0, PUSH, body[start : start + SEGMENT]))
                if number % 2:
                    parts.append(self.record(client, 1, ACK))
            parts += [self.record(client, 1, PUSH, bytes(ANSWER)), self.record(client, 0, ACK)]
            yield b"".join(parts)


def write(fd: int, size: int, traffic: Traffic) -> None:
    """A capture of ``size`` bytes, into a pipe."""
    written = len(HEADER)
    with os.fdopen(fd, "wb", 1 << 20) as pipe:
        pipe.write(HEADER)
        for records in traffic.handshakes():
            written += pipe.write(records)
        while written < size:
            for records in traffic.requests():
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
    writer = threading.Thread(target=write, args=(into, size, traffic))
    writer.start()
    figures = sniff(protocol, "--pcap", "-", "--port", "9092", stdin=read)
    os.close(read)
    writer.join()
    return figures, traffic.packets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pcap", metavar="FILE", type=Path, help="a capture to read, in place of one that is made")
    parser.add_argument("--port", default="9092", help="the servers' port in it (default 9092)")
    parser.add_argument("--protocol", default="bench_bytes", help="an inspector (default: one that does nothing)")
    parser.add_argument("--megabytes", type=int, default=300, help="size of the capture that is made (default 300)")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
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
