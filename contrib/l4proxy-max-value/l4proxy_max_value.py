"""A message filter of Redis: how long values may be."""

from __future__ import annotations

from dataclasses import dataclass

from l4proxy import Register, hookimpl
from l4proxy.config.types import Size
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse


@dataclass(frozen=True, slots=True)
class MaxValueConfig:
    size: Size = Size(1024 * 1024)
    """Bytes of the longest argument that a command may have."""


class MaxValue(RedisFilter[MaxValueConfig]):
    """Refuse commands with a value that is too long."""

    name = "max_value"

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        if max(map(len, request.arguments)) <= self.config.size:
            return request
        return self.reply(request, RedisResponse.error(f"ERR a value is longer than {self.config.size} bytes"))


@hookimpl
def register_message_filters(register: Register[type[MaxValue]]) -> None:
    register(MaxValue)
