"""The contract of health checks, as far as it is checked when a class is made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from l4proxy.endpoint import Endpoint
from l4proxy.filter import NoConfig
from l4proxy.health_check import HealthCheck, HealthCheckOptions


def test_options_derive_from_those_of_every_check() -> None:
    with pytest.raises(TypeError, match="Plain: its options, NoConfig, do not derive from HealthCheckOptions"):

        class Plain(HealthCheck[NoConfig]):  # type: ignore[type-var]
            name = "plain"


def test_options_of_its_own_may_be_required() -> None:
    @dataclass(frozen=True, slots=True)
    class Options(HealthCheckOptions):
        word: str

    class Word(HealthCheck[Options]):
        name = "word"

        async def check(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Any will do."""

    assert Options("a").interval == 5.0
    assert Word.alpn == ()
