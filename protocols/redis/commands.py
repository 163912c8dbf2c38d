"""What each command is: its arity, its flags, where its keys stand, how a cluster is to be asked.

The table is data (``command_data``, and ``valkey_command_data`` for what Valkey has beyond Redis), written by
``contrib/redis/write_command_table.py`` from what a server says of its own commands (``COMMAND``). Modules, and servers
newer than these, have more: `CommandTable` takes them in, and what it does not know is a command all the same, only one
of which nothing is known.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Final, TypeAlias

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.redis.command_data import COMMANDS
from l4proxy.protocols.redis.keys import KeySpec, find_keys, read_key_specs
from l4proxy.protocols.redis.valkey_command_data import BEYOND

__all__ = ["BUILT_IN", "Command", "CommandTable", "Head", "Row", "check_names"]

MAX_HEADS = 4096
"""Beginnings of commands that are remembered; when there are more, all are found out again."""
_HTTP = ("POST", "HOST:")
"""What a browser sends first that was led here, by a page that wants to make it speak Redis. The server looks for the
same two words."""

_ROWS = {**COMMANDS, **BEYOND}
Row: TypeAlias = tuple[int, str, str, str, str, str]
"""Of ``_ROWS``: arity, flags, categories, key specifications, tips, and the version that brought it."""


@dataclass(frozen=True)
class Command:
    """One command, or a subcommand with the name ``CONFIG|GET``."""

    name: str
    """In capitals."""
    arity: int = -1
    """How many arguments it has, the name included; negative: at least so many."""
    flags: frozenset[str] = frozenset()
    """The server's: ``readonly``, ``write``, ``blocking``, ``admin``, ``pubsub``, ``no_auth`` and so on."""
    categories: frozenset[str] = frozenset()
    """Of access control, without the ``@``."""
    key_specs: tuple[KeySpec, ...] = ()
    request_policy: str = ""
    """Which nodes of a cluster it is for, where its keys do not say: ``all_shards``, ``all_nodes``, ``multi_shard``,
    ``special``."""
    response_policy: str = ""
    """How their answers become one: ``all_succeeded``, ``agg_sum``, ``agg_min``, ``special`` and so on."""
    since: str = ""
    subcommands: dict[str, Command] = field(default_factory=dict, compare=False)

    @cached_property
    def is_write(self) -> bool:
        return "write" in self.flags

    @cached_property
    def is_readonly(self) -> bool:
        return "readonly" in self.flags

    @cached_property
    def takes_keys(self) -> bool:
        return bool(self.key_specs)

    def fits(self, argc: int) -> bool:
        """Whether it can have so many arguments, the name included."""
        return argc == self.arity if self.arity >= 0 else argc >= -self.arity

    def keys(self, arguments: Sequence[bytes]) -> list[bytes]:
        """The keys among the arguments (of which the first is the name), in order."""
        return [arguments[at] for at, _ in find_keys(self.name, self.key_specs, arguments)]

    def key_uses(self, arguments: Sequence[bytes]) -> list[tuple[bytes, KeySpec]]:
        """The keys, each with what the command does with it."""
        return [(arguments[at], spec) for at, spec in find_keys(self.name, self.key_specs, arguments)]


def check_names(option: str, names: Iterable[str]) -> None:
    """Raises ValueError for a name that no command has, and that is nearly one's (``flushal``, ``CONFIG GET``). All
    others may be a module's."""
    for at, name in enumerate(names):
        if name.upper() not in _ROWS and "." not in name:
            for near in difflib.get_close_matches(name.upper(), _ROWS, n=1, cutoff=0.8):
                raise ValueError(f"{option}[{at}]: there is no command {name!r} (did you mean {near!r}?)")


UNKNOWN: Final = Command("")
"""Stands for every command of which nothing is known."""


class Head:
    """The beginning of commands: how many arguments, and which name. There is one for each way of writing them that
    turns up in a table."""

    __slots__ = ("argc", "command", "name", "note", "start")

    def __init__(self, command: Command, name: str, argc: int, start: bytes) -> None:
        self.command = command
        self.name = name
        """In capitals. Not that of a subcommand, which stands in the next argument."""
        self.argc = argc
        self.start = start
        """The bytes, from the number of arguments to behind the name; empty for an inline command."""
        self.note: Any = None
        """What whoever has the table has found out about such commands: it is looked up together with them."""

    def __repr__(self) -> str:
        return f"<Head {self.name} {self.argc}>"


class CommandTable:
    """The commands by name, those of this version of the server and others that it is told of."""

    def __init__(self, others: Iterable[Command] = ()) -> None:
        self._commands: dict[str, Command] = {}
        self.heads: dict[bytes, Head] = {}
        """By the bytes that a command begins with: what is asked for each run. ``head`` makes what is missing."""
        for command in others:
            self.add(command)

    def add(self, command: Command) -> None:
        """Take in a command of a module, or replace one."""
        self._commands[command.name] = command
        self.heads.clear()

    def find(self, name: str) -> Command | None:
        """By its name, in capitals; ``CONFIG|GET`` is a subcommand. None: it is not known."""
        command = self._commands.get(name)
        if command is None and name in _ROWS:
            command = self._commands[name] = _command(name)
        return command

    def of(self, arguments: Sequence[bytes]) -> Command:
        """The command that these arguments are, or the subcommand. `UNKNOWN` where it is not known."""
        command = self.find(_text(arguments[0]))
        if command is None:
            return UNKNOWN
        if command.subcommands and len(arguments) > 1:
            return command.subcommands.get(f"{command.name}|{_text(arguments[1])}", command)
        return command

    def __iter__(self) -> Iterator[Command]:
        """All commands, without subcommands."""
        for name in dict.fromkeys((*_ROWS, *self._commands)):
            if "|" not in name and (command := self.find(name)) is not None:
                yield command

    def head(self, start: bytes) -> Head | None:
        """The head of commands that begin with ``start``; None where the name is not as long as it says. Raises
        RemoteProtocolError for HTTP."""
        argc, length, name = start.split(b"\r\n", 2)
        if int(length[1:]) != len(name) - 2:
            return None
        head = self._make(name[:-2], int(argc[1:]), start)
        if len(self.heads) >= MAX_HEADS:
            self.heads.clear()
        if len(start) < 128:
            self.heads[start] = head
        return head

    def inline_head(self, arguments: Sequence[bytes]) -> Head:
        return self._make(arguments[0], len(arguments), b"")

    def _make(self, name: bytes, argc: int, start: bytes) -> Head:
        text = _text(name)
        if text in _HTTP:
            raise RemoteProtocolError("this is HTTP, not Redis", code="cross_protocol")
        return Head(self.find(text) or UNKNOWN, text, argc, start)


def _text(name: bytes) -> str:
    return name.decode("latin-1").upper()


@cache
def _command(name: str) -> Command:
    arity, flags, categories, keys, tips, since = _ROWS[name]
    said = dict(tip.split(":") for tip in tips.split() if ":" in tip)
    subcommands = {sub: _command(sub) for sub in _ROWS if sub.startswith(f"{name}|")}
    return Command(
        name,
        arity,
        frozenset(flags.split()),
        frozenset(categories.split()),
        read_key_specs(keys),
        said.get("request_policy", ""),
        said.get("response_policy", ""),
        since,
        subcommands,
    )


BUILT_IN: Final = CommandTable()
"""The commands of the server that the table was made of, for who has no others."""
