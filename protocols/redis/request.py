"""Where commands begin and end: what a client sends, split without an object for each command.

Most of it is a run: one command, or a pipeline of the same one. A run is one match of a pattern (``patterns``), and
what is known of its commands is looked up by the bytes that they begin with. What no pattern matches is stepped over
argument by argument; what has not come whole is kept, together with how far it was looked at; and a command that is
large is handed on in parts, as it comes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.redis.inline import split_inline
from l4proxy.protocols.redis.limits import DEFAULT_LIMITS, MAX_LINE, RedisLimits, protocol_error
from l4proxy.protocols.redis.patterns import (
    LENGTH_LINES,
    RUNS,
    SINGLE,
    WHOLE_BULKS,
    alike,
    one_command,
    skip_bulks,
)

if TYPE_CHECKING:
    from l4proxy.protocols.redis.commands import CommandTable, Head

__all__ = ["RequestSplitter", "Run", "arguments", "encode_command", "one_by_one", "split_first", "split_run",
           "whole_run"]  # fmt: skip

Run: TypeAlias = "tuple[Head, int, bytes]"
"""Commands of one kind, how many, and their bytes. The number is 0 where it is a part of a command that goes on."""

UNKNOWN = -1
SINGLE_ARGC = 8
"""Arguments that such a command may have."""
_NAME_LENGTH = len(b"*1\r\n$")
"""Where the number stands that says how long the name is, and is a digit most of the time."""
_WITHOUT_NAME = len(b"*1\r\n$1\r\n\r\n") - ord("0")
"""The head is so much longer than what that digit is as a byte."""
_is_number = re.compile(rb"0|-?[1-9][0-9]{0,18}").fullmatch


class RequestSplitter:
    """Splits what one client sends."""

    __slots__ = ("_at", "_head", "_left", "_limits", "_rest", "_streaming", "_table", "error")

    def __init__(self, table: CommandTable, limits: RedisLimits = DEFAULT_LIMITS) -> None:
        self.error: RemoteProtocolError | None = None
        """How the client broke the protocol, behind the commands that were returned. Nothing more is taken from it."""
        self._table = table
        self._limits = limits
        self._rest = bytearray()
        """A command that has not come whole, or as much of it as was not handed on."""
        self._at = 0
        """How far into it was looked: to where an argument begins, maybe beyond what has come."""
        self._left = UNKNOWN
        """Arguments of it still to come."""
        self._head: Head | None = None
        self._streaming = False
        """It is handed on in parts."""

    @property
    def leftover(self) -> bytes:
        """What has come and is in no run yet."""
        return bytes(self._rest)

    def raise_error(self) -> None:
        if self.error is not None:
            raise self.error

    def split(self, data: bytes) -> list[Run]:
        """Take a chunk as it came; return the commands that it completes, and the parts of one that is large.

        Commands without any argument (``*0``, an empty line) have no reply and are dropped, as the server does. Behind
        an ``error`` there is nothing more.
        """
        if not (self._rest or self._streaming or self.error):
            run = whole_run(self._table.heads, data)
            if run is not None:
                return [(*run, data)]
        return self.split_runs(data)

    def split_runs(self, data: bytes) -> list[Run]:
        """The same for a chunk that is most likely no `whole_run`, because the caller has looked."""
        runs: list[Run] = []
        if self.error is not None:
            return runs
        try:
            if self._rest or self._streaming:
                data = self._go_on(data, runs)
            at, size, heads = 0, len(data), self._table.heads
            while at < size:
                pattern = RUNS.get(data[at + 1]) if at + 1 < size else None
                match = pattern(data, at) if pattern is not None else None
                head = None
                if match is not None:
                    start = match[1]
                    head = heads.get(start) or self._table.head(start)
                if match is None or head is None:
                    at = self._step(data, at, runs)
                    continue
                end = match.end()
                runs.append((head, data.count(start, at, end), data if end - at == size else data[at:end]))
                at = end
        except RemoteProtocolError as error:
            self.error = error.with_traceback(None)  # its frames know us, and with us all of the connection
        return runs

    @property
    def unfinished(self) -> bool:
        """Whether a command has begun and not come whole."""
        return bool(self._rest or self._streaming)

    @property
    def ahead(self) -> int:
        """Bytes that will come of the argument under way, of a command that is handed on in parts."""
        return self._at - 2 if self._streaming and not self._rest else 0

    def skip(self, size: int) -> bool:
        """Whether the next ``size`` bytes lie within that argument. Then they are not to be given to ``split``: they
        are the next part as they are."""
        if not self._streaming or self._rest or size > self._at - 2:
            return False
        self._at -= size
        return True

    def _step(self, data: bytes, start: int, runs: list[Run]) -> int:
        """One command that is in no run, or only the beginning of one. Return where to go on."""
        match = one_command()(data, start)
        if match is not None:
            argc, length, end = int(match[2]), match[3], match.end()
            arguments = data.count(b"\r\n", start, end) // 2
            if length is not None:
                end += int(length) + 2
            if arguments == argc and end <= len(data) and data[end - 2 : end] == b"\r\n":
                head = self._table.heads.get(match[1]) or self._table.head(match[1])
                if (
                    head is not None
                    and argc <= self._limits.max_arguments
                    and int(length or 0) <= self._limits.max_bulk
                ):
                    runs.append((head, 1, data[start:end]))
                    return end
        return self._step_by_step(data, start, runs)

    def _step_by_step(self, data: bytes, start: int, runs: list[Run]) -> int:
        """A command of which more than one argument is long, one that has not come whole, or what is none."""
        self._forget()
        end = self._end(data, start)
        if end < 0:
            self._keep(data, start, runs)
            return len(data)
        if self._head is not None:
            runs.append((self._head, 1, data[start:end]))
        return end

    def _forget(self) -> None:
        self._at, self._left, self._head = 0, UNKNOWN, None

    def _go_on(self, data: bytes, runs: list[Run]) -> bytes:
        """More of the command under way. Return what follows it."""
        rest = self._rest
        if rest:
            rest += data
        command = rest or data
        end = self._end(command, 0)
        if end < 0:
            self._keep(command, 0, runs)
            return b""
        if self._head is not None:
            runs.append((self._head, 1, bytes(command[:end])))
        following = bytes(command[end:])
        self._rest = bytearray()
        self._streaming = False
        return following

    def _keep(self, data: bytes | bytearray, start: int, runs: list[Run]) -> None:
        """A command has not come whole: keep it, or hand on what is known of it where it is large."""
        size = len(data) - start
        head, limits = self._head, self._limits
        if head is not None and (
            self._streaming
            or max(self._at, size) >= (limits.max_held if head.name in limits.held else limits.stream_from)
        ):
            settled = min(size, max(0, self._at - 2))
            if settled:
                runs.append((head, 0, bytes(data[start : start + settled])))
            self._streaming = True
            self._at -= settled
            start += settled
        if data is not self._rest or start:
            self._rest = bytearray(data[start:])

    def _end(self, data: bytes | bytearray, start: int) -> int:
        """Where the command that begins at ``start`` ends; -1: it has not come whole, and ``_at`` and the others say
        how far it has."""
        at, size = start + self._at, len(data)
        if self._left == UNKNOWN:
            if data[start : start + 1] != b"*":
                return self._inline_end(data, start)
            if (line := self._line(data, start, "invalid multibulk length")) is None:
                return -1
            at += len(line) + 2
            self._at = at - start
            self._left = self._count(line)
        elif at <= size and data[at - 2 : at] != b"\r\n":
            raise protocol_error("bad_bulk", "an argument is longer than it says")
        while at <= size:
            if self._head is not None:
                at, self._left = skip_bulks(data, at, self._left)
            self._at = at - start
            if self._left <= 0:
                return at
            if (line := self._line(data, at, "invalid bulk length")) is None:
                return -1
            at = self._argument(line, data, start, at + len(line) + 2)
            if at < 0:
                return -1
            self._at = at - start
        return -1

    def _line(self, data: bytes | bytearray, at: int, otherwise: str) -> bytes | None:
        """The line that begins at ``at``, a sign and a number; None: it has not come whole."""
        end = data.find(b"\r\n", at, at + MAX_LINE)
        if end >= 0:
            return bytes(data[at:end])
        if otherwise == "invalid bulk length":
            self._expect_dollar(data[at : at + 1])
        if len(data) - at >= MAX_LINE:
            raise protocol_error(otherwise.replace(" ", "_"), otherwise)
        return None

    def _count(self, line: bytes) -> int:
        number = int(line[1:]) if _is_number(line, 1) else self._limits.max_arguments + 1
        if number > self._limits.max_arguments:
            raise protocol_error("invalid_multibulk_length", "invalid multibulk length")
        return number

    def _argument(self, line: bytes, data: bytes | bytearray, start: int, at: int) -> int:
        """One argument: ``line`` gives its length, and its bytes begin at ``at``. Return where it ends, maybe beyond
        what has come; -1: it is the name, and has not come whole."""
        self._expect_dollar(line[:1] or b"\r")
        length = int(line[1:]) if _is_number(line, 1) else -1
        limit = self._limits.max_inline if self._head is None else self._limits.max_bulk
        if not 0 <= length <= limit:
            raise protocol_error("invalid_bulk_length", "invalid bulk length")
        end = at + length + 2
        if end <= len(data) and data[end - 2 : end] != b"\r\n":
            raise protocol_error("bad_bulk", "an argument is longer than it says")
        if self._head is None:
            if end > len(data):
                return -1
            self._head = self._table.head(bytes(data[start:end]))
        self._left -= 1
        return end

    def _expect_dollar(self, kind: bytes | bytearray) -> None:
        if kind not in b"$":
            got = (chr(kind[0]) if kind not in b"\r\n" else " ") if kind.isascii() else "?"
            raise protocol_error("expected_dollar", f"expected '$', got '{got}'")

    def _inline_end(self, data: bytes | bytearray, start: int) -> int:
        """A line of words (``inline``)."""
        end = data.find(b"\n", start + self._at)
        if end < 0 or end - start > self._limits.max_inline:
            if len(data) - start > self._limits.max_inline:
                raise protocol_error("too_big_inline_request", "too big inline request")
            self._at = len(data) - start
            return -1
        try:
            words = split_inline(bytes(data[start:end]))
        except ValueError:
            raise protocol_error("unbalanced_quotes", "unbalanced quotes in request") from None
        self._head = self._table.inline_head(words) if words else None
        return end + 1


def whole_run(heads: dict[bytes, Head], data: bytes) -> tuple[Head, int] | None:
    """The head of the one command that a chunk is, or of the commands with arguments of the same lengths, as most
    pipelines are, and how many. None: it is not, or not such as could be told so. The hot path of small messages.

    Where the head ends can be told from one byte, as most names are shorter than ten characters; what is in ``heads``
    has been looked at. In front of the last argument there has to stand the length with which it ends where the chunk
    does: so that need not be read, only compared.
    """
    head = heads.get(data[: data[_NAME_LENGTH] + _WITHOUT_NAME]) if len(data) > _NAME_LENGTH else None
    if head is None or head.argc > SINGLE_ARGC:
        return None
    at, size, lengths = len(head.start), len(data), []
    for _ in range(head.argc - 2):
        text = data[at + 1 : data.find(b"\r\n", at, at + 8)]
        if not text.isdigit() or (length := int(text)) >= SINGLE or not data.startswith(LENGTH_LINES[length], at):
            return None
        at += len(text) + 5 + length
        if data[at - 2 : at] != b"\r\n":
            return None
        lengths.append(length)
    if head.argc == 1:
        return (head, 1) if at == size else None
    if at < size < at + SINGLE and data.startswith(WHOLE_BULKS[size - at], at) and data.endswith(b"\r\n"):
        return head, 1
    text = data[at + 1 : data.find(b"\r\n", at, at + 8)]
    if not text.isdigit() or (length := int(text)) >= SINGLE:
        return None
    count, rest = divmod(size, at + len(text) + 5 + length)
    if rest or count < 2 or data[_NAME_LENGTH] - ord("0") in (*lengths, length)[1:]:  # `run_of_commands` says why
        return None
    match = alike(head.start, (*lengths, length))
    return (head, count) if match is not None and match(data, 0, size) else None


def split_run(head: Head, data: bytes) -> tuple[list[bytes], list[bytes]]:
    """Of each command of a run: what is behind its name, and its first argument, which has no CR, as none has."""
    rests = data.split(head.start)
    del rests[0]
    return rests, b"".join(rests).split(b"\r\n")[1 :: 2 * (head.argc - 1)]


def arguments(command: bytes) -> list[bytes]:
    """The arguments of one whole command, its name included."""
    if command[:1] != b"*":
        return split_inline(command)
    lines = command.split(b"\r\n")
    argc = int(lines[0][1:])
    if len(lines) == 2 * argc + 2:  # no argument holds a CRLF
        return lines[2::2]
    found, at = [], len(lines[0]) + 2
    for _ in range(argc):
        line_end = command.index(b"\r\n", at)
        end = line_end + 2 + int(command[at + 1 : line_end])
        found.append(command[line_end + 2 : end])
        at = end + 2
    return found


def one_by_one(run: Run) -> list[bytes]:
    """The commands of a run, each by itself."""
    head, count, data = run
    if count == 1:
        return [data]
    return [head.start + rest for rest in data.split(head.start)[1:]]


def split_first(data: bytes, count: int) -> tuple[bytes, bytes]:
    """The first of ``count`` commands of one run, and the others."""
    if count == 1:
        return data, b""
    end = data.index(b"\r\n", data.index(b"\r\n", data.index(b"\r\n") + 2) + 2) + 2
    size = data.find(data[:end], end)
    return data[:size], data[size:]


def encode_command(*arguments: bytes) -> bytes:
    """A command as it is sent."""
    return b"".join([b"*%d\r\n" % len(arguments), *(b"$%d\r\n%b\r\n" % (len(one), one) for one in arguments)])
