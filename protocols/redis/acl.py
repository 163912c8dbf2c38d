"""Access control as Redis has it: users, and what each may do, in the words of ``ACL SETUSER`` and of ACL files.

::

    user app on >secret ~app:* %R~shared:* &news:* +@read +@write -@dangerous (~tmp:* +@all)

https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from hmac import compare_digest

from l4proxy.protocols.redis.commands import CommandTable
from l4proxy.protocols.redis.globs import glob

__all__ = ["AclUser", "read_acl_file"]

READ, WRITE = 1, 2
CATEGORIES = frozenset((
    "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo", "stream",
    "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction", "scripting",
))  # fmt: skip
_KEY_PATTERN = re.compile(r"(?:%(RW|R|W))?~(.*)", re.DOTALL)
_PUBSUB = {"SUBSCRIBE": 1, "SSUBSCRIBE": 1, "PUBLISH": 1, "SPUBLISH": 1}
_ONE_CHANNEL = frozenset(("PUBLISH", "SPUBLISH"))


class Permissions:
    """One set of rules: the user's own, or one in parentheses (a "selector")."""

    def __init__(self, table: CommandTable) -> None:
        self._table = table
        self.commands: list[tuple[bool, str]] = []
        """What is allowed or not, in order: the last word that is about a command counts."""
        self.keys: list[tuple[int, re.Pattern[bytes]]] = []
        self.channels: list[tuple[bytes, re.Pattern[bytes]]] = []

    def rule(self, word: str) -> bool:
        """Take in a rule. False: it is none about permissions. Raises ValueError."""
        found = _KEY_PATTERN.fullmatch(word)
        if word in ("allcommands", "+@all", "nocommands", "-@all"):
            self.commands = [(word in ("allcommands", "+@all"), "@all")]
        elif word[:1] in "+-" and word[1:]:
            self._command_rule(word[0] == "+", word[1:])
        elif word == "allkeys" or found:
            text, access = (found[2], found[1] or "RW") if found else ("*", "RW")
            self.keys.append(({"R": READ, "W": WRITE, "RW": READ | WRITE}[access], glob(text.encode())))
        elif word == "resetkeys":
            self.keys = []
        elif word == "allchannels" or word.startswith("&"):
            pattern = b"*" if word == "allchannels" else word[1:].encode()
            self.channels.append((pattern, glob(pattern)))
        elif word == "resetchannels":
            self.channels = []
        else:
            return False
        return True

    def _command_rule(self, allows: bool, name: str) -> None:
        if name.startswith("@"):
            if name[1:].lower() not in CATEGORIES:
                raise ValueError(f"there is no category {name}")
            self.commands.append((allows, name.lower()))
            return
        command, _, subcommand = name.upper().partition("|")
        known = self._table.find(command)
        if known is None:
            raise ValueError(f"there is no command {command}")
        if subcommand and known.subcommands and f"{command}|{subcommand}" not in known.subcommands:
            raise ValueError(f"there is no command {command}|{subcommand}")
        self.commands.append((allows, name.upper()))

    def refusal(self, arguments: Sequence[bytes]) -> str:
        """Why a command may not be done: ``command``, ``key``, ``channel``; empty: it may."""
        if not self._allows_command(arguments):
            return "command"
        command = self._table.of(arguments)
        for key, spec in command.key_uses(arguments):
            needed = (READ if spec.reads else 0) | (WRITE if spec.writes else 0)
            if "not_key" not in spec.flags and not self._allows_key(key, needed):
                return "key"
        return "" if self._allows_channels(command.name, arguments) else "channel"

    def _allows_command(self, arguments: Sequence[bytes]) -> bool:
        command = self._table.of(arguments)
        if "no_auth" in command.flags:
            return True
        container, _, subcommand = (command.name or arguments[0].decode("latin-1").upper()).partition("|")
        first = arguments[1].decode("latin-1").upper() if len(arguments) > 1 else ""
        names = {container, f"{container}|{subcommand or first}", "@all", *(f"@{one}" for one in command.categories)}
        return next((allows for allows, name in reversed(self.commands) if name in names), False)

    def _allows_key(self, key: bytes, needed: int) -> bool:
        """One pattern that allows all that is needed has to match."""
        return any(access & needed == needed and pattern.fullmatch(key) for access, pattern in self.keys)

    def _allows_channels(self, name: str, arguments: Sequence[bytes]) -> bool:
        if name == "PSUBSCRIBE":  # a pattern is allowed as such
            allowed = {pattern for pattern, _ in self.channels}
            return b"*" in allowed or all(channel in allowed for channel in arguments[1:])
        if name not in _PUBSUB:
            return True
        channels = arguments[1:2] if name in _ONE_CHANNEL else arguments[1:]
        return all(any(pattern.fullmatch(channel) for _, pattern in self.channels) for channel in channels)


class AclUser:
    """A user. Without rules it may do nothing, as in Redis."""

    def __init__(self, name: str, rules: str, table: CommandTable) -> None:
        """Raises ValueError for what is no rule."""
        self.name = name
        self._table = table
        self._reset()
        for word in _words(rules):
            self._rule(word)

    def _reset(self) -> None:
        self.enabled = False
        self.no_password = False
        self.password_hashes: set[str] = set()
        self._permissions = Permissions(self._table)
        self._selectors: list[Permissions] = []

    def _rule(self, word: str) -> None:
        if word in ("on", "off"):
            self.enabled = word == "on"
        elif word == "nopass":
            self.no_password = True
            self.password_hashes.clear()
        elif word == "resetpass":
            self.no_password = False
            self.password_hashes.clear()
        elif word[:1] in "><" and word[1:]:
            self._password(sha256(word[1:].encode()).hexdigest(), adds=word[0] == ">")
        elif re.fullmatch("[#!][0-9a-f]{64}", word):
            self._password(word[1:], adds=word[0] == "#")
        elif word.startswith("("):
            selector = Permissions(self._table)
            for inner in word[1:-1].split():
                if not selector.rule(inner):
                    raise ValueError(f"{inner!r} is no rule for a selector")
            self._selectors.append(selector)
        elif word == "clearselectors":
            self._selectors = []
        elif word == "reset":
            self._reset()
        elif word not in ("sanitize-payload", "skip-sanitize-payload") and not self._permissions.rule(word):
            raise ValueError(f"{word!r} is no rule of access control")

    def _password(self, hash: str, *, adds: bool) -> None:
        if adds:
            self.password_hashes.add(hash)
            self.no_password = False
        else:
            self.password_hashes.discard(hash)

    def accepts(self, password: bytes) -> bool:
        """Whether somebody with this password is the user. Takes as long for a wrong one as for a right one."""
        given = sha256(password).hexdigest()
        matches = [compare_digest(given, one) for one in self.password_hashes]
        return self.enabled and (self.no_password or any(matches))

    def refusal(self, arguments: Sequence[bytes]) -> str:
        """Why the user may not do a command: ``command``, ``key``, ``channel``; empty: it may. Of several sets of rules
        that refuse it, the one that comes closest says why."""
        refusals = [rules.refusal(arguments) for rules in (self._permissions, *self._selectors)]
        return "" if "" in refusals else max(refusals, key=("command", "key", "channel").index)


def read_acl_file(text: str, table: CommandTable) -> Iterator[AclUser]:
    """The users of an ACL file. Raises ValueError, which says the line."""
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        keyword, _, rest = line.strip().partition(" ")
        name, _, rules = rest.strip().partition(" ")
        if keyword != "user" or not name:
            raise ValueError(f"line {number}: should be 'user NAME RULES...'")
        if name in names:
            raise ValueError(f"line {number}: user {name!r} stands there twice")
        names.add(name)
        try:
            yield AclUser(name, rules, table)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _words(rules: str) -> Iterable[str]:
    """Rules are separated by blanks, but for those in parentheses."""
    if rules.count("(") != rules.count(")"):
        raise ValueError("a parenthesis has no partner")
    return re.findall(r"\([^)]*\)|[^\s()]+", rules)
