"""How each command has to be treated by somebody who stands between clients and servers.

Most are *plain*: whatever connection they are sent on, the reply is the same, and nothing of them stays behind. They
may share a connection with other clients' commands. The others change what the connection is (``SELECT``), keep it
waiting (``BLPOP``), make it speak unasked (``SUBSCRIBE``), or mean this very connection (``CLIENT ID``)."""

from __future__ import annotations

from enum import Enum

from l4proxy.protocols.redis.commands import Command, Head

__all__ = ["Role", "Treatment", "role_of"]


class Role(Enum):
    """What a command is to a proxy."""

    PLAIN = "plain"
    BLOCKING = "blocking"
    """It keeps its connection waiting."""
    MAYBE_BLOCKING = "maybe_blocking"
    """``XREAD``, which blocks with ``BLOCK``."""
    WAIT = "wait"
    """It waits for the replicas to have what this connection has written."""
    MULTI = "multi"
    WATCH = "watch"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    MONITOR = "monitor"
    OWN = "own"
    """It is about the connection itself, and stays with it."""
    SELECT = "select"
    AUTH = "auth"
    HELLO = "hello"
    CLIENT = "client"
    READONLY = "readonly"
    CLUSTER = "cluster"
    RESET = "reset"
    QUIT = "quit"
    EVAL = "eval"
    EVALSHA = "evalsha"
    """It may miss a script that we know."""
    SCRIPT = "script"
    REFUSED = "refused"
    """It makes a replica of the connection."""


_ROLES = {
    "WAIT": Role.WAIT,
    "WAITAOF": Role.WAIT,
    "XREAD": Role.MAYBE_BLOCKING,
    "XREADGROUP": Role.MAYBE_BLOCKING,
    "MULTI": Role.MULTI,
    "WATCH": Role.WATCH,
    "SUBSCRIBE": Role.SUBSCRIBE,
    "PSUBSCRIBE": Role.SUBSCRIBE,
    "SSUBSCRIBE": Role.SUBSCRIBE,
    "UNSUBSCRIBE": Role.UNSUBSCRIBE,
    "PUNSUBSCRIBE": Role.UNSUBSCRIBE,
    "SUNSUBSCRIBE": Role.UNSUBSCRIBE,
    "MONITOR": Role.MONITOR,
    "SELECT": Role.SELECT,
    "AUTH": Role.AUTH,
    "HELLO": Role.HELLO,
    "CLIENT": Role.CLIENT,
    "READONLY": Role.READONLY,
    "READWRITE": Role.READONLY,
    "ASKING": Role.OWN,
    "CLUSTER": Role.CLUSTER,
    "RESET": Role.RESET,
    "QUIT": Role.QUIT,
    "SYNC": Role.REFUSED,
    "PSYNC": Role.REFUSED,
    "REPLCONF": Role.REFUSED,
    "EVAL": Role.EVAL,
    "EVAL_RO": Role.EVAL,
    "EVALSHA": Role.EVALSHA,
    "EVALSHA_RO": Role.EVALSHA,
    "SCRIPT": Role.SCRIPT,
}


def role_of(command: Command, name: str) -> Role:
    """By name, and for commands that are not known by name, by what the table says of them."""
    role = _ROLES.get(name)
    if role is not None:
        return role
    return Role.BLOCKING if "blocking" in command.flags else Role.PLAIN


class Treatment:
    """What is found out once about a command, and looked up with it from then on."""

    __slots__ = ("command", "ends", "keyed", "name", "plain", "role")

    def __init__(self, head: Head) -> None:
        self.command = head.command
        self.name = head.name if head.command.name else "(unknown)"
        """For statistics: what no server knows is one command."""
        fits = head.command.fits(head.argc)
        self.role = role_of(head.command, head.name) if fits else Role.PLAIN
        """With a wrong number of arguments it does nothing, and is answered with an error."""
        self.plain = self.role is Role.PLAIN
        self.ends = fits and head.name in ("EXEC", "DISCARD")
        """It ends a transaction."""
        self.keyed = bool(head.start) and _has_one_key(head.command, head.argc)
        """It has exactly one key, which is its first argument."""


def _has_one_key(command: Command, argc: int) -> bool:
    if argc < 2 or len(command.key_specs) != 1:
        return False
    spec = command.key_specs[0]
    last, step, limit = spec.numbers
    only_one = last == 0 or (last == -1 and argc == 2)
    return (spec.keyword, spec.begin, spec.find, step, limit) == (b"", 1, "range", 1, 0) and only_one
