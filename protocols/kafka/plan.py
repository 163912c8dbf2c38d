"""What is done with requests of one API and version: settled once, when the first of them comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from l4proxy.protocols.kafka.api import API_VERSIONS, Api
from l4proxy.protocols.kafka.apis import APIS, OTHERS, api_name
from l4proxy.protocols.kafka.declarations.records import PRODUCE
from l4proxy.protocols.kafka.declarations.security import SASL_HANDSHAKE
from l4proxy.protocols.kafka.walker import Stream, Walk, Walker

__all__ = ["UNSUPPORTED_VERSION", "Plan", "Plans", "Reading"]

UNSUPPORTED_VERSION = 35
PLANS_LIMIT = 1000
"""Pairs of API and version that are told apart; a client may make up more."""

Reading = tuple[Walker | None, Walker | None]
"""What is read of an API's requests and of its responses."""


class Plan:
    """How requests of one API and version, and their responses, are read. Attributes are looked at for every message.

    ``walk_*`` read a message that is there as a whole, ``stream_*`` one that is not; both are None for what is not
    read, be it not wanted or not known. ``tagged_*`` tells whether its header ends in tagged fields, ``reads_lone``
    whether what is read is what `lone` tells of requests that it recognises."""

    __slots__ = (
        "api", "key", "name", "reads_lone", "stream_request", "stream_response", "tagged_request", "tagged_response",
        "version", "walk_request", "walk_response", "without_client_id",
    )  # fmt: skip

    def __init__(self, key: int, version: int, reading: Reading) -> None:
        self.key = key
        self.version = version
        self.name = api_name(key)
        self.api: Api | None = APIS.get(key)
        self.walk_request: Walk | None = None
        self.walk_response: Walk | None = None
        self.stream_request: Stream | None = None
        self.stream_response: Stream | None = None
        self.without_client_id = self.reads_lone = False
        self.tagged_request = self.tagged_response = False
        if self.api is None:
            return
        self.without_client_id = self.api.request_header(version) == 0
        self.tagged_request = self.api.request_header(version) == 2
        self.tagged_response = self.api.response_header(version) == 1
        if self.api.knows(version):
            request, response = reading
            if request is not None:
                self.walk_request = request.whole(version)
                self.stream_request = request.streaming(version)
            if response is not None:
                self.walk_response = response.whole(version)
                self.stream_response = response.streaming(version)
                if key == API_VERSIONS and version:
                    self.walk_response = _with_fallback(self.walk_response, response.whole(0))

    @property
    def is_known(self) -> bool:
        """Whether Kafka 4.1, or a version before it, speaks this version of this API."""
        return self.api is not None and self.api.knows(self.version)


def _with_fallback(walk: Walk, walk_oldest: Walk) -> Walk:
    """A broker answers an ApiVersions request that is newer than itself as if it were of version 0 (KIP-511)."""

    def walk_either(data: bytes, pos: int, end: int) -> tuple[Any, ...]:
        if end - pos >= 2 and int.from_bytes(data[pos : pos + 2], "big") == UNSUPPORTED_VERSION:
            return walk_oldest(data, pos, end)
        return walk(data, pos, end)

    return walk_either


P = TypeVar("P", bound=Plan)


ALWAYS: dict[int, Reading] = {
    PRODUCE.key: (Walker(PRODUCE.request, "acks"), None),
    SASL_HANDSHAKE.key: (Walker(SASL_HANDSHAKE.request, "mechanism"), Walker(SASL_HANDSHAKE.response, "error_code")),
}
"""What a session has to read to follow the connection. Other readings of these begin with the same fields."""


class Plans(dict[int, P], Generic[P]):
    """Plans by ``key << 16 | version``, made when they are first asked for. ``readings`` says what is read, by key."""

    def __init__(self, plan: Callable[[int, int, Reading], P], readings: Mapping[int, Reading]) -> None:
        super().__init__()
        self._plan = plan
        self._readings = {**ALWAYS, **readings}
        for key, least in ALWAYS.items():
            for walker, needed in zip(self._readings[key], least, strict=True):
                if needed is not None and (walker is None or walker.selection[:1] != needed.selection):
                    raise ValueError(f"a reading of {api_name(key)} begins with {needed.selection[0].name}")

    def __missing__(self, key_and_version: int) -> P:
        key, version = key_and_version >> 16, key_and_version & 0xFFFF
        if len(self) >= PLANS_LIMIT and not (key in APIS and APIS[key].knows(version)):
            if OTHERS not in self:
                self[OTHERS] = self._plan(OTHERS, 0, (None, None))
            return self[OTHERS]
        plan = self[key_and_version] = self._plan(key, version, self._readings.get(key, (None, None)))
        return plan
