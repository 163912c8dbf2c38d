"""Exchanges with Redis' words: which command, about which keys, by whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l4proxy.exchange import Exchange
from l4proxy.inspector import Link
from l4proxy.plugins.redis_watch.asked import Asked

__all__ = ["MessageExchange", "RedisExchange"]


class RedisExchange(Exchange):
    """One command with its reply. ``error`` is the first word of an error."""

    __slots__ = ("asked", "database", "name", "user")

    def __init__(self, link: Link, asked: Asked, seconds: float | None, *, error: str, reply_bytes: int) -> None:
        super().__init__(
            link,
            asked.at,
            asked.plan.name,
            seconds,
            error=error,
            request_bytes=asked.size,
            response_bytes=reply_bytes,
        )
        self.asked = asked
        state = link.state
        self.name: str = state.get("redis:name", "")
        self.user: str = state.get("redis:user", "")
        self.database: int = state.get("redis:database", 0)

    def keys(self) -> list[str]:
        return [key.decode(errors="backslashreplace") for key in self.asked.find_keys()]

    def callers(self) -> list[str]:
        """By what the client may be asked for."""
        return [self.name, str(self.link.client), self.link.client.host]

    def fields(self) -> Mapping[str, Any]:
        return {
            "arguments": self.arguments(),
            "keys": self.keys(),
            "database": self.database,
            "user": self.user,
            "name": self.name,
        }

    def arguments(self) -> str:
        """Behind the name, as people read them, without passwords."""
        text, name = self.asked.text(), self.asked.plan.name
        return text[len(name) :].lstrip() if text.startswith(name) else text

    def text(self) -> str:
        return " ".join(filter(None, (self.arguments(), f"{self.response_bytes} bytes")))


class MessageExchange(Exchange):
    """What a server has said unasked: a message of a channel, or a push."""

    __slots__ = ("channel",)

    def __init__(self, link: Link, at: float, kind: str, channel: bytes, size: int) -> None:
        super().__init__(link, at, kind, response_bytes=size)
        self.channel = channel.decode(errors="backslashreplace")

    def keys(self) -> list[str]:
        return []

    def callers(self) -> list[str]:
        return [self.link.state.get("redis:name", ""), str(self.link.client), self.link.client.host]

    @property
    def database(self) -> int:
        return 0

    @property
    def user(self) -> str:
        return str(self.link.state.get("redis:user", ""))

    def fields(self) -> Mapping[str, Any]:
        return {"channel": self.channel}

    def text(self) -> str:
        return f"{self.channel} {self.response_bytes} bytes"
