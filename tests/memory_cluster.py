"""A cluster in a harness: the real one, with endpoints that are in memory as the harness' own two ends are."""

from __future__ import annotations

import socket
from errno import EINPROGRESS
from typing import Any, Literal, cast

import pytest

from clusters import config
from l4proxy.cluster import Cluster
from l4proxy.cluster_manager import make_parts
from l4proxy.dial import connect_failure
from l4proxy.endpoint import Target
from l4proxy.filter import Filter
from l4proxy.matcher import PeekInfo
from l4proxy.testing import End, Harness

__all__ = ["MemoryCluster", "memory_cluster"]


Answer = Literal["accept", "wait"] | int


class MemoryCluster:
    """Made by the fixture. ``answer`` is what its endpoints do when they are connected to: accept, refuse (an errno),
    or let it wait until ``accept_all``; ``first_answers`` come before. ``ends`` are those connected to, in order, and
    ``targets`` where to."""

    def __init__(self) -> None:
        self.answer: Answer = "accept"
        self.first_answers: list[Answer] = []
        self.ends: list[End] = []
        self.targets: list[str] = []
        self.clusters: dict[str, Cluster] = {}
        self._harness: Harness | None = None
        self._waiting: set[object] = set()

    def start(
        self,
        *uses: tuple[type[Filter[Any]], Any, bool],
        info: PeekInfo | None = None,
        cluster: dict[str, Any] | None = None,
    ) -> Harness:
        """A harness, with a cluster called ``c`` that has two endpoints; ``cluster`` are further options of it. There
        is also one called ``other``."""
        self.ends, self.targets, self._waiting = [], [], set()
        h = self._harness = Harness(list(uses))
        configs = config("192.0.2.1:1", "192.0.2.2:2", **(cluster or {})), config("192.0.2.3:3", name="other")
        self.clusters = {parts.config.name: Cluster(parts, cast(Any, h)) for parts in make_parts(configs)}
        h.clusters.find, h.clusters.own = self.clusters.__getitem__, {}
        return h.start(info=info)

    @property
    def cluster(self) -> Cluster:
        return self.clusters["c"]

    def accept_all(self) -> None:
        """Accept whatever waits."""
        assert self._harness is not None
        for sock in list(self._waiting):
            self._waiting.remove(sock)
            self._harness.poller.happened(cast(Any, sock))
        self._harness.run()

    def dial(self, target: Target, _source: Target | None = None) -> tuple[socket.socket, bool]:
        assert self._harness is not None
        answer = self.first_answers.pop(0) if self.first_answers else self.answer
        if isinstance(answer, int):
            raise connect_failure(answer)
        end = End(self._harness)
        self.ends.append(end)
        self.targets.append(str(target.sockaddr[0]))
        if answer == "wait":
            self._waiting.add(end.sock)
        return cast(Any, end.sock), answer == "accept"

    def dialled(self, sock: object, _target: Target) -> int:
        return EINPROGRESS if sock in self._waiting else 0


@pytest.fixture
def memory_cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    made = MemoryCluster()
    monkeypatch.setattr("l4proxy.connect.dial", made.dial)
    monkeypatch.setattr("l4proxy.connect.dialled", made.dialled)
    return made
