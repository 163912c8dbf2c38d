"""Encrypted streams: every byte once and in order, whatever the wire does, and every kind of end."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import select
import socket
import ssl
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.filter import NoConfig, Side
from l4proxy.passed import PassedChunks
from l4proxy.poller import EDGE, WRITE
from l4proxy.stream import READ_SIZE_MAX, SOMETHING_TO_READ
from l4proxy.tls import ServerTlsContext
from services.certs import Certs
from streams import open_descriptors, reset, tcp_pair, turn
from tls_peers import End, Peer, Thread, accepted, client_context, server_tls

RECORD = 16384
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def context(certs: Certs) -> ServerTlsContext:
    return ServerTlsContext(server_tls(certs.server))


@contextlib.contextmanager
def both(context: ServerTlsContext, certs: Certs, version: ssl.TLSVersion | None = None) -> Iterator[tuple[End, Peer]]:
    peer = client_context(certs.ca)
    if version is not None:
        peer.maximum_version = version
    with accepted(context, peer) as (end, client):
        yield end, client


@pytest.fixture
def ends(context: ServerTlsContext, certs: Certs) -> Iterator[tuple[End, Peer]]:
    with both(context, certs) as both_ends:
        yield both_ends


def cut(data: bytes, chance: random.Random, most: int) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = chance.randint(1, most)
        yield data[at : at + size]
        at += size


# Bytes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(3))
def test_bytes_arrive_unchanged_however_they_are_cut(
    seed: int, version: ssl.TLSVersion, context: ServerTlsContext, certs: Certs
) -> None:
    chance = random.Random(seed)
    there, back = chance.randbytes(300_000), chance.randbytes(300_000)
    with both(context, certs, version) as (end, peer):
        sealed = b"".join(peer.seal(piece) for piece in cut(there, chance, 40_000))
        wire, answers = cut(sealed, chance, 30_000), cut(back, chance, 50_000)
        for piece, answer in zip_longest(wire, answers):
            peer.sock.sendall(piece)
            end.stream.write(answer)
            turn(end.poller)
            peer.receive()
        end.turn_until(lambda: len(end.data) == len(there) and len(peer.receive()) == len(back))
        assert end.data == there
        assert peer.data == back
        assert (end.stream.received, end.stream.sent, end.stream.buffered) == (len(there), len(back), 0)


def zip_longest(one: Iterator[bytes], other: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    while True:
        a, b = next(one, b""), next(other, b"")
        if not a and not b:
            return
        yield a, b


def test_a_record_may_come_byte_by_byte(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    for byte in cut(peer.seal(b"hello") + peer.seal(b" world"), random.Random(), 1):
        peer.sock.sendall(byte)
        turn(end.poller, 0.01)
    end.turn_until(lambda: end.data == b"hello world")
    assert end.chunks == [b"hello", b" world"]


def test_records_are_joined(ends: tuple[End, Peer]) -> None:
    """Large ones and small ones: who reads the stream is called per piece, not per record."""
    end, peer = ends
    end.stream.hold_reading(1)
    large, small = os.urandom(5 * RECORD), [os.urandom(100) for _ in range(50)]
    peer.send(large)
    for piece in small:
        peer.send(piece)
    end.stream.release_reading(1)
    end.turn_until(lambda: end.stream.received == len(large) + 5000)
    assert end.chunks == [large + b"".join(small)]


def test_it_is_noted_whom_the_bytes_have_passed(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    shown: list[Any] = []
    chunks = PassedChunks(shown.extend, end.stream._poller)
    end.stream.noting = (chunks, NoConfig(), Side.CLIENT)  # type: ignore[assignment]
    data = os.urandom(5 * RECORD)
    for piece in (b"small", data):
        peer.send(piece)
        end.turn_until(lambda: sum(map(len, end.chunks)) in (5, 5 + len(data)))
    end.turn_until(lambda: sum(map(len, end.chunks)) == 5 + len(data))
    chunks.show()
    assert [data for _, _, data, _ in shown] == end.chunks


def test_a_piece_has_a_largest_size(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    data = os.urandom(3 * READ_SIZE_MAX)
    peer.sock.settimeout(30)
    sender = Thread(lambda: peer.send(data))
    end.turn_until(lambda: end.stream.received == len(data))
    assert sender.error is None
    assert end.data == data
    assert max(map(len, end.chunks)) <= READ_SIZE_MAX


def test_what_is_held_waits_and_so_does_the_end(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    peer.send(b"first")
    end.turn_until(lambda: end.chunks)
    end.stream.hold_reading(1)
    peer.send(b"second")
    peer.sock.sendall(peer.close_notify())
    turn(end.poller)
    assert (end.chunks, end.said) == ([b"first"], [])
    end.stream.release_reading(1)
    end.turn_until(lambda: end.said)
    assert (end.chunks, end.said) == ([b"first", b"second"], ["eof"])


def test_what_came_with_the_handshake_is_read(context: ServerTlsContext, certs: Certs) -> None:
    """A client's last message of the handshake, its first bytes and its end may come in one segment."""
    with tcp_pair() as (ours, theirs), contextlib.closing(End(context, ours)) as end:
        peer = Peer(theirs, client_context(certs.ca), server_hostname="localhost")
        sent: list[bytes] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(peer, "sock", SimpleNamespace(recv=theirs.recv, sendall=sent.append))
            assert not peer.shake_hands()
            theirs.sendall(sent.pop())
            end.turn_until(peer.shake_hands)
        theirs.sendall(sent.pop() + peer.seal(b"early") + peer.close_notify())
        theirs.shutdown(socket.SHUT_WR)
        end.turn_until(lambda: end.said)
        assert (end.data, end.said) == (b"early", ["eof"])


def readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


# Writing


def test_a_slow_reader_fills_the_buffer_and_gets_everything(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    data = os.urandom(8 << 20)
    chunks = list(cut(data, random.Random(1), 300_000))
    for chunk in chunks:
        end.stream.write(chunk)
    assert end.said == ["full"]
    assert end.stream.sent + end.stream.buffered == len(data)
    end.turn_until(lambda: len(peer.receive()) == len(data))
    assert hashlib.sha256(peer.data).digest() == hashlib.sha256(data).digest()
    assert end.said == ["full", "flushed", "writable"]
    assert (end.stream.sent, end.stream.buffered) == (len(data), 0)


def test_messages_written_soon_share_a_record(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    end.stream.write(b"behind the tickets")
    end.turn_until(peer.receive)
    peer.data.clear()
    for at in range(100):
        end.stream.write_soon(b"%3d" % at)
    end.turn_until(lambda: readable(peer.sock))
    wire = peer.sock.recv(1 << 16)
    assert len(wire) < 300 + 30
    peer.incoming.write(wire)
    assert peer.receive() == b"".join(b"%3d" % at for at in range(100))


def test_sixty_four_megabytes_there_and_back(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    end.echo()
    megabyte = random.Random(5).randbytes(1 << 20)
    unsent, to_send, received, digest = memoryview(b""), 64, 0, hashlib.sha256()
    while received < 64 << 20:
        if not unsent and to_send:
            unsent, to_send = memoryview(peer.seal(megabyte)), to_send - 1
        with contextlib.suppress(BlockingIOError):
            unsent = unsent[peer.sock.send(unsent) :]
        turn(end.poller)
        digest.update(peer.receive())
        received += len(peer.data)
        peer.data.clear()
    assert digest.digest() == hashlib.sha256(megabyte * 64).digest()
    assert end.stream.received == end.stream.sent == 64 << 20
    peer.sock.sendall(peer.close_notify())
    end.turn_until(lambda: peer.receive() or peer.ended)


def test_writing_on_a_closed_stream_is_harmless(ends: tuple[End, Peer]) -> None:
    end, _ = ends
    end.stream.close()
    end.stream.write(b"late")
    end.stream.write_soon(b"late")
    end.stream.write_eof()
    turn(end.poller)
    assert end.said == ["closed"]


# Ends


def test_the_peer_ends_first_and_still_gets_its_answer(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    peer.sock.sendall(peer.seal(b"request") + peer.close_notify())
    peer.sock.shutdown(socket.SHUT_WR)
    end.turn_until(lambda: end.said)
    assert (end.data, end.said, end.context.stats.truncated_total) == (b"request", ["eof"], 0)
    end.stream.write(b"answer")
    end.stream.write_eof()
    end.turn_until(lambda: peer.receive() and peer.ended)
    assert peer.data == b"answer"


@pytest.mark.parametrize("version", VERSIONS)
def test_we_end_first_and_still_get_everything(
    version: ssl.TLSVersion, context: ServerTlsContext, certs: Certs
) -> None:
    """Also what waits to be read in that moment, which SSLSocket.unwrap alone would choke on."""
    with both(context, certs, version) as (end, peer):
        end.stream.hold_reading(1)
        peer.send(b"waiting, ")
        end.stream.write(b"bye")
        end.stream.write_eof()
        end.turn_until(lambda: peer.receive() and peer.ended)
        assert peer.data == b"bye"
        end.stream.release_reading(1)
        peer.send(b"and later")
        end.turn_until(lambda: len(end.data) == len(b"waiting, and later"))
        peer.sock.sendall(peer.close_notify())
        end.turn_until(lambda: end.said)
        assert (end.data, end.said) == (b"waiting, and later", ["eof"])


def test_the_end_leaves_behind_what_is_buffered(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    data = os.urandom(6 << 20)
    end.stream.write(data)
    end.stream.write_eof()
    assert end.stream.buffered
    end.turn_until(lambda: peer.receive() and peer.ended)
    assert peer.data == data
    assert end.said == ["full", "flushed", "writable"]


def test_an_end_that_cannot_leave_counts_as_buffered(ends: tuple[End, Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as close_notify is on its way, the stream is not to be closed."""
    end, peer = ends
    taken = iter([0, 3, 0])

    def write(fd: int, data: bytes) -> int:
        size = next(taken, len(data))
        if not size:
            raise BlockingIOError
        return os_write(fd, data[:size])

    os_write = os.write
    monkeypatch.setattr(os, "write", write)
    end.stream.write_eof()
    assert end.stream.buffered > 20
    end.stream._flush()
    assert (end.stream.buffered > 10, end.said) == (True, [])
    end.stream._flush()
    end.stream._flush()
    assert (end.stream.buffered, end.said) == (0, ["flushed"])
    end.turn_until(lambda: peer.receive() is not None and peer.ended)


def test_ending_keeps_no_descriptor_and_is_said_once(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    before = open_descriptors()
    end.stream.write_eof()
    end.stream.write_eof()
    end.stream.write_last_eof()
    assert open_descriptors() == before
    end.turn_until(lambda: peer.receive() is not None and peer.ended)


def test_a_last_end_is_said_even_if_the_peer_has_ended(ends: tuple[End, Peer]) -> None:
    """A close would send FIN, but no close_notify."""
    end, peer = ends
    peer.sock.sendall(peer.close_notify())
    end.turn_until(lambda: end.said)
    end.stream.write_last_eof()
    end.turn_until(lambda: peer.receive() is not None and peer.ended)


def test_nothing_is_ever_sent_in_the_clear(ends: tuple[End, Peer]) -> None:
    """When both ends are said, ssl's own socket would send plain bytes."""
    end, peer = ends
    peer.sock.sendall(peer.close_notify())
    end.turn_until(lambda: end.said)
    end.stream.write_eof()
    end.stream.write(b"secret")
    assert end.said == ["eof", "closed", "lost"]
    assert end.errors[0].errno == errno.EPIPE
    assert b"secret" not in everything_from(peer.sock)


def everything_from(sock: socket.socket) -> bytes:
    sock.settimeout(30)
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def test_an_end_without_close_notify_is_an_end_and_counted(certs: Certs) -> None:
    context = ServerTlsContext(server_tls(certs.server))
    with both(context, certs) as (end, peer):
        peer.send(b"all of it?")
        peer.sock.shutdown(socket.SHUT_WR)
        end.turn_until(lambda: end.said)
        assert (end.data, end.said, context.stats.truncated_total) == (b"all of it?", ["eof"], 1)
        end.stream.write(b"yes")
        end.stream.write_eof()
        end.turn_until(lambda: peer.receive() and peer.ended)
        assert peer.data == b"yes"


@pytest.mark.parametrize("cut_at", [1, 5, 20])
def test_an_end_in_the_middle_of_a_record(cut_at: int, certs: Certs) -> None:
    context = ServerTlsContext(server_tls(certs.server))
    with both(context, certs) as (end, peer):
        peer.sock.sendall(peer.seal(b"whole") + peer.seal(b"not whole")[:cut_at])
        peer.sock.shutdown(socket.SHUT_WR)
        end.turn_until(lambda: end.said)
        assert (end.data, end.said, context.stats.truncated_total) == (b"whole", ["eof"], 1)


@pytest.mark.parametrize("held", [False, True])
def test_a_reset_is_a_loss(held: bool, ends: tuple[End, Peer]) -> None:
    end, peer = ends
    if held:
        end.stream.hold_reading(1)
    reset(peer.sock)
    end.turn_until(lambda: end.errors)
    assert isinstance(end.errors[0], ConnectionResetError)
    assert end.said == ["closed", "lost"]


def test_a_reset_while_writing_is_a_loss(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    end.stream.write(bytes(8 << 20))
    reset(peer.sock)
    end.turn_until(lambda: end.errors)
    assert end.errors[0].errno in (errno.ECONNRESET, errno.EPIPE)


def test_a_reset_before_the_end_is_a_loss(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    reset(peer.sock)
    end.stream.write_eof()
    end.turn_until(lambda: end.errors)
    assert end.errors[0].errno in (errno.ECONNRESET, errno.EPIPE)


def test_a_spoilt_record_is_a_loss_behind_what_came_before(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    records = bytearray(peer.seal(b"good") + peer.seal(b"spoilt"))
    records[-1] ^= 1
    peer.sock.sendall(records)
    end.turn_until(lambda: end.errors)
    assert (end.data, end.said) == (b"good", ["closed", "lost"])
    assert end.errors[0].errno == errno.EPROTO
    assert str(end.errors[0]).startswith("[Errno 71] TLS: decryption failed or bad record mac")


def test_the_peers_alert_is_named(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    end.stream.write(b"hello")
    end.turn_until(lambda: len(peer.sock.recv(1 << 16, socket.MSG_PEEK)) > 20)
    spoilt = bytearray(peer.sock.recv(1 << 16))
    spoilt[-1] ^= 1
    peer.incoming.write(spoilt)
    with pytest.raises(ssl.SSLError, match="BAD_RECORD_MAC"):
        peer.receive()
    peer.sock.sendall(peer.outgoing.read())
    end.turn_until(lambda: end.errors)
    assert str(end.errors[0]) == "[Errno 71] TLS: the peer sent the alert 'bad_record_mac'"


# OpenSSL's moods


def test_reading_may_have_to_wait_until_it_can_send(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    real, moods = end.stream._recv, iter([ssl.SSLWantWriteError])

    def recv(size: int) -> bytes:
        for mood in moods:
            raise mood
        data: bytes = real(size)
        return data

    end.stream._recv = recv  # type: ignore[assignment]
    peer.send(b"hello")
    turn(end.poller)
    end.stream._poller.change(end.stream.fd, WRITE | EDGE)  # as if it could be written only now
    end.turn_until(lambda: end.data == b"hello")
    assert end.stream._read_events == SOMETHING_TO_READ


def test_writing_may_have_to_wait_until_it_has_read(ends: tuple[End, Peer]) -> None:
    end, peer = ends
    real, moods = end.stream._encrypt, iter([ssl.SSLWantReadError])

    def encrypt(data: Any) -> int:
        for mood in moods:
            raise mood
        return real(data)

    end.stream._encrypt = encrypt  # type: ignore[assignment]
    end.stream.write(b"hello")
    assert end.stream.buffered == 5
    peer.send(b"something to read")
    end.turn_until(lambda: peer.receive() == b"hello")
    assert (end.data, end.stream.buffered) == (b"something to read", 0)


def test_it_is_moved_by_no_kernel(ends: tuple[End, Peer]) -> None:
    end, _ = ends
    assert not end.stream.spliceable
    end.stream.splice_to(end.stream)
    assert end.stream._splice_sink is None
