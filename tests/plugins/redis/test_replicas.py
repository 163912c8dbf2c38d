"""Which replicas may be read from, with servers whose answers and times are the test's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from l4proxy.plugins.redis import replicas
from l4proxy.plugins.redis.replicas import MISSED, ReplicaWatch
from l4proxy.plugins.redis.target import Shard, choose_node
from l4proxy.protocols.redis.values import Failure

LINKED = "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:{quiet}\r\nslave_repl_offset:{offset}\r\n"
LOST = (
    "role:slave\r\nmaster_link_status:down\r\nmaster_link_down_since_seconds:{quiet}\r\nslave_repl_offset:{offset}\r\n"
)
PRIMARY = "role:master\r\nmaster_repl_offset:{offset}\r\n"


@dataclass(frozen=True)
class Server:
    name: str


class Servers:
    """A primary ``p`` and replicas ``a`` and ``b``, which are asked by ``look`` and answer what ``tell`` says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, max_lag: float) -> None:
        self.now = 100.0
        self.names = {name: Server(name) for name in "pab"}
        self.shard = Shard("s", self.at("p"), [self.at("a"), self.at("b")])
        self._asked: dict[str, Callable[[Any, Any], None]] = {}
        self._look: Callable[[], None] = lambda: None
        hub = SimpleNamespace(timers=SimpleNamespace(call_later=self._later), clock=lambda: self.now)
        hub.identity = hub.info = None
        target = SimpleNamespace(hub=hub, config=SimpleNamespace(max_lag=max_lag), shards=lambda: [self.shard])
        target.pool = lambda _identity, endpoint, replica=False: endpoint
        target.settled = target.refresh = lambda: None
        monkeypatch.setattr(replicas, "inquire", self._inquire)
        self.watch = ReplicaWatch(cast("Any", target))

    def at(self, name: str) -> Any:
        return self.names[name]

    def _later(self, _pause: float, call: Callable[[], None]) -> None:
        self._look = call

    def _inquire(self, endpoint: Any, _treatment: Any, _command: bytes, answered: Callable[[Any, Any], None]) -> None:
        self._asked[endpoint.name] = answered

    def look(self, after: float = 1.0, **told: str | None) -> list[str]:
        """Let this time pass, ask all, and have them answer; return those that may be read from."""
        self.now += after
        self._look()
        for name, text in told.items():
            if text is not None:
                self._asked[name](text.encode(), None)
        return self.usable()

    def usable(self) -> list[str]:
        return [endpoint.name for endpoint in self.watch.usable(self.shard)]

    def read(self, policy: str) -> set[str]:
        """Who answers, whoever asks."""
        usable = self.watch.usable(self.shard)
        present = self.watch.answers(self.at("p"))
        chosen = [choose_node(self.shard, usable, policy, self.watch.latency, client, present) for client in range(12)]
        return {endpoint.name for endpoint, _ in chosen if endpoint is not None}


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    return Servers(monkeypatch, max_lag=2.0)


def linked(offset: int, quiet: int = 0) -> str:
    return LINKED.format(offset=offset, quiet=quiet)


def test_one_that_is_behind_is_not_read_until_it_is_not(servers: Servers) -> None:
    assert servers.usable() == []  # nothing is known
    assert servers.look(p=PRIMARY.format(offset=10), a=linked(10), b=linked(10)) == ["a", "b"]
    # From now on b gets nothing. It lacks what was written between this question and the next one to the primary.
    assert servers.look(p=PRIMARY.format(offset=20), a=linked(20), b=linked(10)) == ["a", "b"]
    assert servers.look(p=PRIMARY.format(offset=30), a=linked(30), b=linked(10)) == ["a", "b"]
    assert servers.look(p=PRIMARY.format(offset=40), a=linked(40), b=linked(10)) == ["a", "b"]
    assert servers.look(p=PRIMARY.format(offset=50), a=linked(50), b=linked(10)) == ["a"]
    # What matters is how old what it has is, and not how much it lacks.
    assert servers.look(p=PRIMARY.format(offset=60), a=linked(60), b=linked(20)) == ["a"]
    assert servers.look(p=PRIMARY.format(offset=70), a=linked(70), b=linked(60)) == ["a", "b"]
    assert servers.read("prefer_replica") == {"a", "b"}
    assert servers.read("any") == {"p", "a", "b"}


def test_one_that_has_lost_its_primary_is_read_for_as_long_as_its_data_may_be_old(servers: Servers) -> None:
    servers.look(p=PRIMARY.format(offset=10), a=linked(10), b=linked(10))
    assert servers.look(b=LOST.format(offset=10, quiet=2), a=linked(10)) == ["a", "b"]
    assert servers.look(b=LOST.format(offset=10, quiet=3), a=linked(10)) == ["a"]
    # Nothing is written, and a primary says so every 10 seconds: that is not a replica that lags behind.
    assert servers.look(b=linked(10, quiet=9), a=linked(10, quiet=9)) == ["a", "b"]
    assert servers.look(b=linked(10, quiet=16), a=linked(10, quiet=16)) == []
    assert servers.read("prefer_replica") == {"p"}


@pytest.mark.parametrize("policy", ["any", "nearest"])
def test_a_server_that_stops_is_not_read(policy: str, servers: Servers) -> None:
    """It keeps its connections, and says nothing."""
    servers.look(p=PRIMARY.format(offset=10), a=linked(10), b=linked(10))
    for _ in range(MISSED):
        servers.look(a=linked(10), b=None)
    assert servers.read(policy) <= {"a"}
    assert servers.look(p=PRIMARY.format(offset=10), a=linked(10), b=linked(10)) == ["a", "b"]
    assert servers.watch.answers(servers.at("p"))


def test_one_that_is_being_copied_to_or_cannot_be_asked_is_not_read(servers: Servers) -> None:
    copied = LOST.format(offset=0, quiet=-1) + "master_sync_in_progress:1\r\n"
    assert servers.look(p=PRIMARY.format(offset=10), a=linked(10), b=copied) == ["a"]
    assert servers.look(p=PRIMARY.format(offset=10), a=linked(10), b=PRIMARY.format(offset=10)) == ["a"]
    servers.look(p=PRIMARY.format(offset=10), a=linked(10))
    servers._asked["b"](Failure(b"ERR upstream failure: connect refused"), None)
    assert servers.usable() == ["a"]
