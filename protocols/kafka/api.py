"""An API: a kind of request with its response, in all its versions."""

from __future__ import annotations

from dataclasses import dataclass

from l4proxy.protocols.kafka.schema import Schema, declare

__all__ = ["Api", "api"]

API_VERSIONS = 18
"""Its response has an old header in every version, so that a client can read it before it knows the versions."""
CONTROLLED_SHUTDOWN = 7
"""Version 0 of it has the only requests without a client id."""


@dataclass(frozen=True, slots=True)
class Api:
    """``first`` and ``last`` are the versions that Kafka 4.1, or a version before it, speaks. ``flexible`` is the first
    flexible one, None where there is none. Of the APIs that only brokers and controllers use among themselves,
    ``request`` and ``response`` declare nothing: they end before their first field."""

    key: int
    name: str
    first: int
    last: int
    flexible: int | None
    request: Schema
    response: Schema

    @property
    def is_declared(self) -> bool:
        return self.response.whole or bool(self.response.fields)

    def knows(self, version: int) -> bool:
        return self.first <= version <= self.last

    def is_flexible(self, version: int) -> bool:
        return self.flexible is not None and version >= self.flexible

    def request_header(self, version: int) -> int:
        """The version of a request's header: 1 ends in the client id, 2 adds tagged fields; 0 ends before it."""
        if self.is_flexible(version):
            return 2
        return 0 if self.key == CONTROLLED_SHUTDOWN and not version else 1

    def response_header(self, version: int) -> int:
        """The version of a response's header: 0 is the correlation id, 1 adds tagged fields."""
        return 1 if self.is_flexible(version) and self.key != API_VERSIONS else 0


def api(
    key: int,
    name: str,
    *,
    versions: tuple[int, int],
    flexible: int | None,
    request: str = "...",
    response: str = "...",
) -> Api:
    """Declare an API, with its messages in the notation of `schema`."""
    return Api(
        key, name, *versions, flexible, declare(request, flexible=flexible), declare(response, flexible=flexible)
    )
