"""Where replies end: a reader that makes no objects, remembers how far it has looked, and need not have a reply whole.

To step over a value is to step over its line, and over its body if it has one; over an aggregate, over as many more
values as it says. So a counter of values still to come is all there is to know about an aggregate, and a stack of them
about aggregates within aggregates. What is streamed says no number: its counter is negative, until the end mark.
"""

from __future__ import annotations

import re

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.redis.limits import DEFAULT_LIMITS, MAX_LINE, RedisLimits
from l4proxy.protocols.redis.patterns import SHORT, SINGLE, alike, find_replies, skip_replies

__all__ = ["ReplyScanner", "split_replies"]

BULK = ord("$")
STREAMED = -1
WORTH_A_RUN = 4
"""From so many values on, stepping over them together is tried first."""
_is_number = re.compile(rb"[0-9]{1,19}").fullmatch


class ReplyScanner:
    """Steps over the replies of one connection."""

    __slots__ = ("_at", "_left", "_limits", "_seen", "_stack", "_whole", "errors")

    def __init__(self, limits: RedisLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._at = 0
        """How far it has looked, from where the replies under way begin; behind a line or a body, and beyond what has
        come where a body has not."""
        self._seen = 0
        """So many bytes have no end of the line that is waited for; 0: none is waited for."""
        self._left = 0
        """Values still to come at the present level."""
        self._stack: list[int] = []
        """The same of the levels around it."""
        self._whole = (0, 0)
        """Where, of several replies under way, the last one ends that is whole, and how many follow it."""
        self.errors: list[bytes] = []
        """The text of each reply that was an error, in order. The caller empties it."""

    def end(self, data: bytes | bytearray, start: int, count: int = 1) -> int:
        """Where the next ``count`` replies end, which begin at ``start``; -1: not all of them have come.

        After -1, call it again for the same replies with more bytes, of which ``start`` is again where they begin.
        Raises RemoteProtocolError for what is no RESP.
        """
        if self._seen and not self._line_ends(data, start):
            return -1
        if not self._at:
            if count == 1 and (line_end := data.find(b"\r\n", start)) > 0:  # the most common ones, quickly
                kind = data[start]
                if kind == BULK:
                    text = data[start + 1 : line_end]
                    if line_end - start < MAX_LINE and text.isdigit():
                        end = line_end + 4 + int(text)
                        if end <= len(data) and data[end - 2 : end] == b"\r\n":
                            return end
                elif kind in b"+:":
                    return line_end + 2
            if count > 1 and (end := _end_of_alike(data, start, count)):
                return end
            at, self._left = skip_replies(data, start, count)
            if not self._left:
                return at
            self._whole = (at, self._left)
            if self._left == 1 and (end := self._long_bulk(data, at)):
                return end
        else:
            at = start + self._at
            self._whole = (start, count)
            if at <= len(data) and data[at - 2 : at] != b"\r\n":
                raise _no_end()
        at, whole = self._step(data, at)
        if self._seen:
            self._seen -= start
        self._at = 0 if whole else at - start
        return at if whole else -1

    def take_whole(self, start: int, count: int) -> tuple[int, int]:
        """After -1: how many of the replies under way are whole, and where they end. From now on, those behind them are
        the ones under way."""
        end, left = self._whole
        if left < count:
            self.passed(end - start)
        return count - left, end

    def only_first(self, count: int) -> None:
        """Of ``count`` replies under way, of which the first has begun, that one is the only one from now on."""
        if self._stack:
            self._stack[0] -= count - 1
        else:
            self._left -= count - 1

    @property
    def settled(self) -> int:
        """So many bytes of the replies under way it need not see again: they may be passed on."""
        return max(0, self._at - 2)

    def passed(self, size: int) -> None:
        """So many bytes, at most ``settled``, were passed on: the replies under way begin behind them now."""
        self._at -= size
        self._seen = max(0, self._seen - size)

    def _long_bulk(self, data: bytes | bytearray, at: int) -> int:
        """Where a bulk string ends that is longer than the patterns match; 0: it is none, or has not come whole."""
        line_end = data.find(b"\r\n", at, at + MAX_LINE)
        text = data[at + 1 : line_end]
        if data[at : at + 1] != b"$" or line_end < 0 or not text.isdigit():
            return 0
        end = line_end + 4 + int(text)
        return end if end <= len(data) and data[end - 2 : end] == b"\r\n" else 0

    def _step(self, data: bytes | bytearray, at: int) -> tuple[int, bool]:
        """Go on from ``at``; return how far it came, and whether that is the end."""
        left, stack, size = self._left, self._stack, len(data)
        short = True
        whole = self._whole
        while at <= size:
            if not stack:
                whole = (at, left)
            if not left:
                if not stack:
                    self._left = 0
                    return at, True
                left = stack.pop()
                continue
            if short and left >= WORTH_A_RUN:
                at, left = skip_replies(data, at, left)
                if not left:
                    continue
            if left > 0 and (end := self._long_bulk(data, at)):
                short = end - at <= SHORT
                at, left = end, left - 1
                continue
            short = True
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                self._check_line(data, at)
                self._seen = len(data)
                break
            kind, text = data[at : at + 1], bytes(data[at + 1 : line_end])
            at = line_end + 2
            if kind in b"$!=;" and kind:
                at, left = self._bulk(kind, text, data, at, left)
            elif kind in b"*%~>|" and kind:
                left = self._aggregate(kind, text, left)
            else:
                left = self._scalar(kind, text, left)
        self._left, self._whole = left, whole
        return at, False

    def _scalar(self, kind: bytes | bytearray, text: bytes, left: int) -> int:
        """A line that is a whole value, or ends a streamed aggregate."""
        if kind == b"." and not text and left == STREAMED:
            return self._stack.pop()
        if kind == b"-" and not self._stack:
            self.errors.append(text)
        elif kind not in b"+-:_,#(" or not kind:
            raise RemoteProtocolError(f"{bytes(kind) + text[:20]!r} is no RESP", code="bad_type")
        return _one_less(left)

    def _bulk(
        self, kind: bytes | bytearray, text: bytes, data: bytes | bytearray, at: int, left: int
    ) -> tuple[int, int]:
        """A line with the length of a body, and the body."""
        if text == b"-1" and kind == b"$":
            return at, _one_less(left)
        if text == b"?" and kind == b"$":
            self._push(_one_less(left))
            return at, STREAMED
        length = _number(text, self._limits.max_bulk, "max_bulk")
        if kind == b";":
            if left != STREAMED:
                raise RemoteProtocolError("a chunk of no string", code="bad_type")
            if not length:
                return at, self._stack.pop()
        elif kind == b"!" and not self._stack:
            self.errors.append(bytes(data[at : at + length]))
        end = at + length + 2
        if end <= len(data) and data[end - 2 : end] != b"\r\n":
            raise _no_end()
        return end, _one_less(left)

    def _aggregate(self, kind: bytes | bytearray, text: bytes, left: int) -> int:
        """A line with the number of values that follow."""
        if text == b"-1" and kind == b"*":
            return _one_less(left)
        self._push(left if kind == b"|" else _one_less(left))
        if text == b"?":
            return STREAMED
        return _number(text, self._limits.max_elements, "max_elements") * (2 if kind in b"%|" else 1)

    def _push(self, left: int) -> None:
        self._stack.append(left)
        if len(self._stack) > self._limits.max_depth:
            raise RemoteProtocolError("aggregates within aggregates, too deep", code="max_depth")

    def _line_ends(self, data: bytes | bytearray, start: int) -> bool:
        """Whether the line that is waited for has its end by now."""
        if data.find(b"\r\n", start + self._seen - 1) < 0:
            self._check_line(data, start + self._at)
            self._seen = len(data) - start
            return False
        self._seen = 0
        return True

    def _check_line(self, data: bytes | bytearray, at: int) -> None:
        """A line has not ended yet: can it still?"""
        limit = self._limits.max_inline if data[at : at + 1] in (b"+", b"-", b"(") else MAX_LINE
        if len(data) - at > limit:
            raise RemoteProtocolError("a line that does not end", code="max_line")


def _end_of_alike(data: bytes | bytearray, start: int, count: int) -> int:
    """Where so many bulk strings of the same length end; 0: they are not, or have not all come."""
    line_end = data.find(b"\r\n", start, start + 8)
    text = data[start + 1 : line_end]
    if line_end < 0 or data[start] != BULK or not text.isdigit():
        return 0
    length = int(text)
    size = line_end + 4 + length - start
    end = start + size * count
    if end > len(data) or size > SINGLE or not data.startswith(data[start : line_end + 2], end - size):
        return 0
    match = alike(b"", (length,))
    return end if match is not None and match(data, start, end) else 0


def _one_less(left: int) -> int:
    return left if left == STREAMED else left - 1


def _number(text: bytes, limit: int, code: str) -> int:
    if not _is_number(text):
        raise RemoteProtocolError(f"{text[:20]!r} is no length", code="bad_number")
    number = int(text)
    if number > limit:
        raise RemoteProtocolError(f"{number} is more than the limit of {limit}", code=code)
    return number


def _no_end() -> RemoteProtocolError:
    return RemoteProtocolError("a string is longer than it says", code="bad_bulk")


def split_replies(data: bytes, count: int) -> list[bytes]:
    """``count`` whole replies, each by itself."""
    replies = find_replies(data)
    if len(replies) == count and replies[-1]:
        return replies
    scanner, at, replies = ReplyScanner(), 0, []
    for _ in range(count):
        end = scanner.end(data, at)
        replies.append(data[at:end])
        at = end
    return replies
