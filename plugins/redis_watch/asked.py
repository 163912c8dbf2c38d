"""Commands that were asked: what is found out once about all of one name, and what one of them says."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from l4proxy.protocols.redis.inline import split_inline

if TYPE_CHECKING:
    from l4proxy.plugins.redis_watch.stats import CommandStats
    from l4proxy.protocols.redis.commands import Command

__all__ = ["Asked", "Plan", "commands_of", "words_of"]

SHOWN_WORD = 64
"""Characters of an argument that are shown."""
SECRET = "(redacted)"

_ROLES = {
    "SUBSCRIBE": "subscribe", "PSUBSCRIBE": "subscribe", "SSUBSCRIBE": "subscribe",
    "UNSUBSCRIBE": "subscribe", "PUNSUBSCRIBE": "subscribe", "SUNSUBSCRIBE": "subscribe",
    "MONITOR": "monitor", "MULTI": "multi", "EXEC": "exec", "DISCARD": "discard", "RESET": "reset",
    "HELLO": "hello", "AUTH": "auth", "SELECT": "select", "CLIENT": "client", "SYNC": "sync", "PSYNC": "sync",
}  # fmt: skip
_SECRETS = frozenset((b"AUTH", b"AUTH2", b"SETUSER", b"REQUIREPASS", b"MASTERAUTH", b"MASTERUSER"))
"""Words behind which there are secrets."""
_MAY_HAVE_SECRETS = frozenset(("AUTH", "HELLO", "ACL", "CONFIG", "MIGRATE"))


class Plan:
    """Of commands of one name. ``role`` says that they change how the connection goes on; empty: they do not."""

    __slots__ = ("blocks", "command", "name", "one_key", "role", "stats", "takes_keys")

    def __init__(self, name: str, command: Command, stats: CommandStats) -> None:
        self.name = name
        self.command = command
        self.stats = stats
        self.role = _ROLES.get(name, "")
        self.blocks = "blocking" in command.flags
        specs = command.key_specs
        self.takes_keys = bool(specs) or any(sub.key_specs for sub in command.subcommands.values())
        self.one_key = len(specs) == 1 and not specs[0].keyword and specs[0].begin == 1 and _is_single(specs[0].numbers)
        """Whether they have one key, and that is the first argument."""


def _is_single(numbers: tuple[int, int, int]) -> bool:
    return numbers[0] == 0


class Asked:
    """One command. Of a long one, ``raw`` is only the beginning. Made where somebody wants to know more of it."""

    def __init__(self, plan: Plan, at: float, raw: bytes, size: int) -> None:
        self.plan = plan
        self.at = at
        self.raw = raw
        self.size = size

    @cached_property
    def words(self) -> list[bytes]:
        """Its arguments, the name first. Of a long command there may be fewer, and the last one may be cut."""
        return words_of(self.raw)

    def find_keys(self) -> list[bytes]:
        """As far as they are there."""
        command, words = self.plan.command, self.words
        if command.subcommands and len(words) > 1:
            command = command.subcommands.get(f"{command.name}|{words[1].decode('latin-1').upper()}", command)
        if len(self.raw) == self.size:
            return command.keys(words)
        specs = command.key_specs
        begins = bool(specs) and not specs[0].keyword and specs[0].begin == 1 and specs[0].find == "range"
        return words[1:2] if begins and len(words) > 2 else []

    @property
    def waits(self) -> bool:
        """Whether it is one that keeps its client waiting on purpose."""
        name = self.plan.name
        if name in ("XREAD", "XREADGROUP"):
            return any(word.upper() == b"BLOCK" for word in self.words[1:8])
        return self.plan.blocks

    def text(self) -> str:
        """For people, without passwords: ``SET user:1 {"name":…``."""
        words, shown, hide = self.words, [self.plan.name if self.plan.command.name else ""], False
        secret = self.plan.name in _MAY_HAVE_SECRETS
        hide = self.plan.name == "AUTH"
        for word in words[1:] if shown[0] else words:
            if hide:
                shown.append(SECRET)
                break
            shown.append(_shown(word))
            hide = secret and word.upper() in _SECRETS
        if len(self.raw) < self.size and not hide:
            shown.append(f"({self.size} bytes)")
        return " ".join(filter(None, shown))


def _shown(word: bytes) -> str:
    text = word[: 2 * SHOWN_WORD].decode(errors="backslashreplace")
    text = text if text.isprintable() and text else ascii(text)[1:-1] or '""'
    return text if len(text) <= SHOWN_WORD else f"{text[:SHOWN_WORD]}…"


def commands_of(run: bytes, count: int) -> list[bytes]:
    """The ``count`` commands of a run: all begin alike, up to behind the name."""
    if count == 1:
        return [run]
    argc, length, name, _ = run.split(b"\r\n", 3)
    start = b"%b\r\n%b\r\n%b\r\n" % (argc, length, name)
    return [start + rest for rest in run.split(start)[1:]]


def words_of(raw: bytes) -> list[bytes]:
    """The arguments of a command, or of as much as there is of it."""
    if raw[:1] != b"*":
        try:
            return split_inline(raw)
        except ValueError:
            return raw.split()
    words: list[bytes] = []
    at = raw.find(b"\r\n") + 2
    argc = raw[1 : at - 2]
    while 1 < at < len(raw) and len(words) < (int(argc) if argc.isdigit() else 0):
        line_end = raw.find(b"\r\n", at)
        number = raw[at + 1 : line_end]
        if line_end < 0 or not number.isdigit():
            break
        end = line_end + 2 + int(number)
        words.append(raw[line_end + 2 : end])
        at = end + 2
    return words
