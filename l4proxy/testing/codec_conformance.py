"""Does a codec, or a matcher, keep its contract however the bytes arrive?

::

    from l4proxy.testing import check_codec, check_matcher

    def test_codec():
        check_codec(LineCodec, [(b"a\\nb\\n", [Line(b"a"), Line(b"b")])], bad=[b"\\0\\n"])

    def test_matcher():
        check_matcher(lambda: Lines(True), yes=[b"HELLO\\n"], no=[b"GET / HTTP/1.1\\r\\n"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from l4proxy.codec import Codec, RemoteProtocolError
from l4proxy.matcher import Matcher, PeekInfo
from l4proxy.testing.splits import difference, pieces, splits

__all__ = ["check_codec", "check_matcher"]

E = TypeVar("E")
NOBODY = ("192.0.2.1", 40000)
TAILS = (b"\0" * 64, b"\r\n" * 32, b"\xff" * 64)
"""What may follow the bytes that a matcher has decided on."""


def check_codec(
    make: Callable[[], Codec[E]],
    cases: Iterable[tuple[bytes, Sequence[E]]],
    *,
    bad: Iterable[bytes] = (),
    merge: Callable[[list[E]], list[E]] = lambda events: events,
    rounds: int = 20,
    seed: int = 0,
) -> None:
    """Check a codec with bytes and the events they are. Raises AssertionError, which says which split went wrong.

    ``make()`` returns a new codec. Each case is fed whole, byte by byte and in ``rounds`` random splits (by ``seed``),
    and with the beginning of itself behind it. Every time the same events come out; what ``send`` makes of them, with
    ``leftover()`` behind it, are the very bytes that were read. ``merge`` joins events where their borders follow those
    of the chunks (the pieces of a body), so that they can be compared; ``cases`` have them joined.

    ``bad`` are bytes that break the protocol: RemoteProtocolError is raised, with the same ``code`` however they come.
    """
    for data, events in cases:
        for name, split in splits(seed, rounds):
            chunks = split(data)
            told = f"{data[:60]!r}, fed {name}: {pieces(chunks)} (seed={seed})"
            _check_read(make(), chunks, data, list(events), merge, told)
        for size in range(1, len(data)):
            told = f"{data[:60]!r} with its own first {size} bytes behind it"
            _check_read(make(), [data + data[:size]], data + data[:size], list(events), merge, told, more=True)
    for data in bad:
        codes = {name: _code(make(), split(data)) for name, split in splits(seed, rounds)}
        for name, code in codes.items():
            if not code:
                raise AssertionError(f"{data[:60]!r}, fed {name}: no RemoteProtocolError (seed={seed})")
            if code != codes["whole"]:
                raise AssertionError(
                    f"{data[:60]!r}, fed {name}: {code}, but {codes['whole']} when whole (seed={seed})"
                )


def _check_read(
    codec: Codec[E],
    chunks: list[bytes],
    data: bytes,
    expected: list[E],
    merge: Callable[[list[E]], list[E]],
    told: str,
    more: bool = False,
) -> None:
    events = [event for chunk in chunks for event in codec.receive_data(chunk)]
    sent = b"".join(codec.send(event) for event in events) + codec.leftover()
    if sent != data:
        raise AssertionError(f"{told}\nsent on and left over are other bytes than were read:\n{difference(data, sent)}")
    merged = merge(events)
    if more:
        merged = merged[: len(expected)]
    if merged != expected:
        raise AssertionError(f"{told}\n  expected {expected}\n  received {merged}")


def _code(codec: Codec[Any], chunks: list[bytes]) -> str:
    """With which code a codec refuses; empty: it does not."""
    try:
        for chunk in chunks:
            codec.receive_data(chunk)
    except RemoteProtocolError as error:
        return error.code
    return ""


def check_matcher(
    make: Callable[[], Matcher[Any]],
    yes: Iterable[bytes],
    no: Iterable[bytes] = (),
    *,
    info: Callable[[], PeekInfo] = lambda: PeekInfo(NOBODY, NOBODY),
) -> None:
    """Check a matcher with bytes that it takes and bytes that it does not. Raises AssertionError with the prefix.

    ``match`` is asked of every prefix, as when the bytes arrive one by one: None until it is decided, and what is
    decided stays. A matcher that has seen the shorter prefixes and a new one (``make()``) say the same.
    """
    for expected, samples in ((True, yes), (False, no)):
        for data in samples:
            matcher, seen = make(), info()
            decided: bool | None = None
            for peek in (*(data[:size] for size in range(len(data) + 1)), *(data + tail for tail in TAILS)):
                before, decided = decided, matcher.match(peek, seen)
                fresh = make().match(peek, info())
                if decided is not fresh:
                    raise AssertionError(f"{peek!r}: {decided} after the shorter ones, {fresh} by a new matcher")
                if decided is (not expected) or (decided is None and len(peek) >= len(data)):
                    raise AssertionError(f"{peek!r}: {decided}, but {data!r} is to be {expected}")
                if decided is None and before is not None:
                    raise AssertionError(f"{peek!r}: not decided any more, and was with a byte less")
