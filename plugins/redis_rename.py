"""``rename`` for Redis: commands under other names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.plugins.redis.replies import unknown_command

__all__ = ["RedisRename", "RedisRenameConfig"]


@dataclass(frozen=True, slots=True)
class RedisRenameConfig:
    commands: Mapping[str, str]
    """What clients say, and what servers are told: `{ OPS-FLUSH = "FLUSHALL", FLUSHALL = "" }`. Nothing: the command is
    unknown."""

    def __post_init__(self) -> None:
        for name, other in self.commands.items():
            if not name or not all(33 <= ord(letter) <= 126 for letter in name + other):
                raise ValueError(f"commands: {name or other!r} cannot be the name of a command")

    def names(self) -> dict[str, str]:
        return {name.upper(): other for name, other in self.commands.items()}


class RedisRename(RedisFilter[RedisRenameConfig]):
    """Call commands by other names, so that only those can use them who know.

        { use = "rename", commands = { OPS-FLUSH = "FLUSHALL", FLUSHALL = "" } }

    Also for servers that have renamed some themselves (`rename-command`): `{ CONFIG = "b840fc02" }`. Filters in front
    of this one see the names that clients say, and those behind it the others. Commands inside of a transaction are
    renamed, too; those in scripts are not.
    """

    name = "rename"
    shared: dict[str, str]

    @classmethod
    def provision(cls, config: RedisRenameConfig, server: Any) -> dict[str, str]:
        return config.names()

    @classmethod
    def renames(cls, config: RedisRenameConfig) -> dict[str, str]:
        return {name: other.upper() for name, other in config.names().items() if other}

    @classmethod
    def wanted(cls, config: RedisRenameConfig) -> frozenset[str]:
        return frozenset(config.names())

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        name = self.shared[request.kind]
        if name:
            request.arguments = (name.encode(), *request.arguments[1:])
            return request
        self.reply(request, RedisResponse.error(unknown_command(request.arguments)))
        return None


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RedisRename)
