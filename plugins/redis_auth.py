"""``auth`` for Redis: users, passwords, and what each may do, by the proxy instead of the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from l4proxy.config.types import FilePath, Secret
from l4proxy.errors import cannot_read
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.acl import AclUser, read_acl_file
from l4proxy.protocols.redis.commands import CommandTable
from l4proxy.protocols.redis.values import Simple
from l4proxy.stats import Stats, counter, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["RedisAuth", "RedisAuthConfig", "RedisUser"]

DEFAULT = "default"
WRONG = "WRONGPASS invalid username-password pair or user is disabled."
NO_AUTH = "NOAUTH Authentication required."
NO_HELLO = (
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> "
    "option can be used to authenticate the client and select the RESP protocol version at the same time"
)
NO_PASSWORD = (
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration "
    "is correct?"
)


@dataclass(frozen=True, slots=True)
class RedisUser:
    """A user; written as in Redis."""

    example: ClassVar[str] = '{ name = "app", password = { env = "APP_PASSWORD" }, rules = "~app:* +@read +@write" }'

    name: str
    """`default` is who has not logged in."""
    password: Secret | None = None
    """The password; none: the rules have it (`>secret`, `#` and its SHA-256, `nopass`)."""
    rules: str = ""
    """What the user may do: `~app:* +@read +@write -@dangerous`. Nothing, where there are none."""


@dataclass(frozen=True, slots=True)
class RedisAuthConfig:
    users: tuple[RedisUser, ...] = ()
    """Users, as `{ name = "app", password = { env = "APP_PASSWORD" }, rules = "~app:* +@read +@write" }`."""
    file: FilePath | None = None
    """More users, in a file as Redis has it (`aclfile`): a line `user NAME on #SHA256 ~key:* +@read` for each."""

    def __post_init__(self) -> None:
        if not self.users and not self.file:
            raise ValueError("users: write users, or file, or both")


class RedisAuthStats(Stats, subsystem="redis_auth"):
    """Log-ins and permissions."""

    logins_total = labelled_counter("Log-ins that succeeded, by user.", label="user")
    failed_total = counter("Log-ins with a wrong password or as nobody.")
    refused_total = labelled_counter("Commands refused, by reason (noauth, command, key, channel).", label="reason")


class Users:
    """What all connections share."""

    def __init__(self, config: RedisAuthConfig, stats: RedisAuthStats) -> None:
        """Raises ValueError where a rule is none."""
        self.stats = stats
        table = CommandTable()
        self.by_name: dict[str, AclUser] = {}
        if config.file is not None:
            self._add(config.file, table)
        for at, one in enumerate(config.users):
            if one.name in self.by_name:
                raise ValueError(f"users[{at}].name: there are two users {one.name!r}")
            secret = f" >{one.password.reveal()}" if one.password else ""
            try:
                self.by_name[one.name] = AclUser(one.name, f"on{secret} {one.rules}", table)
            except ValueError as error:
                raise ValueError(f"users[{at}].rules: {error}") from None
        default = self.by_name.get(DEFAULT)
        self.anybody = default if default is not None and default.enabled and default.no_password else None
        """Who one is without having logged in; None: nobody."""

    def _add(self, file: FilePath, table: CommandTable) -> None:
        try:
            text = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"file: {cannot_read(file, error)}") from None
        try:
            self.by_name.update((user.name, user) for user in read_acl_file(text, table))
        except ValueError as error:
            raise ValueError(f"file: {file}: {error}") from None


class RedisAuth(RedisFilter[RedisAuthConfig]):
    """Let clients log in to the proxy, and do only what their user may.

        { use = "auth", users = [{ name = "app", password = { env = "PW" }, rules = "~app:* +@all -@dangerous" }] }

    Users and rules are those of Redis' access control lists, also from its files; their meaning is the server's, but
    that scripts are judged by the keys they name, and not by what they do: `-@scripting` keeps users from them. Files
    are read again at a reload, and then hold for connections that begin. The proxy itself logs in to the servers as the
    `username` of `redis_proxy` says, or not at all. Access logs know the user as `%FILTER_STATE(redis:user)%`.
    """

    name = "auth"
    shared: Users

    @classmethod
    def provision(cls, config: RedisAuthConfig, server: Server) -> Users:
        return Users(config, server.stats.group(RedisAuthStats))

    def on_connect(self) -> None:
        self._become(self.shared.anybody)

    def _become(self, user: AclUser | None) -> None:
        self._user = user
        self.conn.state["redis:user"] = user.name if user is not None else ""

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        special: Callable[[RedisAuth, RedisRequest], RedisRequest | None] | None = self._SPECIAL.get(request.name)
        if special is not None:
            return special(self, request)
        user = self._user
        if user is None:
            self._deny(request, "noauth", NO_AUTH)
        elif refusal := user.refusal(request.arguments):
            self._deny(request, refusal, _why(refusal, request))
        elif request.name == "ACL" and request.command.name == "ACL|WHOAMI":
            self.reply(request, RedisResponse(user.name.encode()))
        else:
            return request
        return None

    def _deny(self, request: RedisRequest, reason: str, text: str) -> None:
        self.shared.stats.refused_total.add(reason)
        self.reply(request, RedisResponse.error(text))

    def _auth(self, request: RedisRequest) -> RedisRequest | None:
        words = request.arguments
        if len(words) not in (2, 3):
            return request  # the server says what is wrong with it
        if len(words) == 2 and self.shared.anybody is not None:
            self.reply(request, RedisResponse.error(NO_PASSWORD))
        elif self._log_in(words[1] if len(words) == 3 else DEFAULT.encode(), words[-1]):
            self.reply(request, RedisResponse(Simple(b"OK")))
        else:
            self.reply(request, RedisResponse.error(WRONG))
        return None

    def _log_in(self, name: bytes, password: bytes) -> bool:
        user = self.shared.by_name.get(name.decode("utf-8", "replace"))
        if user is None or not user.accepts(password):
            self.shared.stats.failed_total += 1
            return False
        self.shared.stats.logins_total.add(user.name)
        self._become(user)
        return True

    def _hello(self, request: RedisRequest) -> RedisRequest | None:
        """``HELLO 3 AUTH name password``: logs in here, and goes on without."""
        words = list(request.arguments)
        upper = [word.upper() for word in words]
        at = upper.index(b"AUTH", 2) if b"AUTH" in upper[2:] else 0
        if at and at + 2 < len(words):
            if not self._log_in(words[at + 1], words[at + 2]):
                self.reply(request, RedisResponse.error(WRONG))
                return None
            request.arguments = words[:at] + words[at + 3 :]
        elif self._user is None:
            self._deny(request, "noauth", NO_HELLO)
            return None
        return request

    def _reset(self, request: RedisRequest) -> RedisRequest:
        self._become(self.shared.anybody)
        return request

    def _quit(self, request: RedisRequest) -> RedisRequest:
        return request

    _SPECIAL: ClassVar[dict[str, Any]] = {"AUTH": _auth, "HELLO": _hello, "RESET": _reset, "QUIT": _quit}


def _why(refusal: str, request: RedisRequest) -> str:
    """In the server's words. It looks first at whether a command can have so many arguments."""
    command = request.command
    name = (command.name or request.name).lower()
    if not command.fits(len(request.arguments)):
        return f"ERR wrong number of arguments for '{name}' command"
    if refusal == "key":
        return "NOPERM this user has no permissions to access one of the keys used as arguments"
    if refusal == "channel":
        return "NOPERM this user has no permissions to access one of the channels used as arguments"
    return f"NOPERM this user has no permissions to run the '{name}' command"


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RedisAuth)
