"""A filter chain as configured: found out once, which callbacks a filter has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from l4proxy.chain import FilterChain, FilterUse
from l4proxy.filter import Filter, NoConfig, Side
from l4proxy.reason import CloseReason
from l4proxy.stats_registry import StatsRegistry


class Nothing(Filter[NoConfig]):
    name = "nothing"


class Connects(Nothing):
    def on_connect(self) -> None:
        pass


class ReadsClient(Nothing):
    def on_client_data(self, data: bytes) -> bytes:
        return data


class ReadsUpstream(Nothing):
    def on_upstream_data(self, data: bytes) -> bytes:
        return data


class ClientEof(Nothing):
    def on_client_eof(self) -> None:
        pass


class UpstreamEof(Nothing):
    def on_upstream_eof(self) -> None:
        pass


class Writable(Nothing):
    def on_writable(self, side: Side, writable: bool) -> None:
        pass


class Drains(Nothing):
    def on_drain(self) -> None:
        pass


class Closes(Nothing):
    def on_close(self, reason: CloseReason) -> None:
        pass


class Inherits(ReadsClient):
    """Has the callback of its base."""


FLAGS = ("connects", "reads_client", "reads_upstream", "client_eof", "upstream_eof", "writable", "drains", "closes")


@pytest.fixture
def server() -> Any:
    return SimpleNamespace(stats=StatsRegistry())


@pytest.mark.parametrize(
    ("cls", "flag"),
    [
        (Nothing, ""),
        (Connects, "connects"),
        (ReadsClient, "reads_client"),
        (Inherits, "reads_client"),
        (ReadsUpstream, "reads_upstream"),
        (ClientEof, "client_eof"),
        (UpstreamEof, "upstream_eof"),
        (Writable, "writable"),
        (Drains, "drains"),
        (Closes, "closes"),
    ],
)
def test_only_callbacks_that_somebody_wrote_count(cls: type[Filter[Any]], flag: str, server: Any) -> None:
    use = FilterUse(cls, NoConfig(), server)
    assert [name for name in FLAGS if getattr(use, name)] == [flag] * bool(flag)


def test_what_connections_share_is_made_once_and_given_back(server: Any) -> None:
    cleaned: list[object] = []

    class Shares(Nothing):
        @classmethod
        def provision(cls, config: NoConfig, server: Any) -> object:
            return ["shared", config, server]

        @classmethod
        def cleanup(cls, shared: object) -> None:
            cleaned.append(shared)

    config = NoConfig()
    use = FilterUse(Shares, config, server)
    assert use.shared == ["shared", config, server]
    use.cleanup()
    assert cleaned == [use.shared]


def test_places_of_one_filter_share_their_statistics(server: Any) -> None:
    uses = [FilterUse(Nothing, NoConfig(), server) for _ in range(2)]
    assert uses[0].stats is uses[1].stats


class Watches(Nothing):
    observer = True


@pytest.mark.parametrize(
    ("cls", "asked", "bypass"), [(Nothing, False, False), (Nothing, True, True), (Watches, False, True)]
)
def test_who_only_watches_fails_open(cls: type[Filter[Any]], asked: bool, bypass: bool, server: Any) -> None:
    assert FilterUse(cls, NoConfig(), server, asked).bypass is bypass


def test_a_chain_is_what_was_configured(server: Any) -> None:
    use = FilterUse(Nothing, NoConfig(), server)
    chain = FilterChain("one", [use])
    assert (chain.name, chain.filters, chain.matchers, chain.tls) == ("one", (use,), (), None)
