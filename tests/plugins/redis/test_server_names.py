"""Addresses of servers that others know by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.plugins.redis.server_names import MAX_NAMES, ServerNames
from l4proxy.resolver import Addresses, ResolveError, Resolver, Services
from l4proxy.testing import StartProxy
from services.needs import needs, program
from services.process import HOST, accepts, free_port, running
from services.redis import RedisConnection, RedisServer
from services.redis_servers import wait_for


class Book(Resolver):
    """Knows what it is told."""

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}
        self.asked: list[str] = []

    async def addresses(self, host: str) -> Addresses:
        self.asked.append(host)
        if host not in self.hosts:
            raise ResolveError("not_found", f"there is no {host}")
        return Addresses((self.hosts[host],), 5)

    async def services(self, name: str) -> Services:
        raise NotImplementedError


class Names:
    """``ServerNames`` that ask a ``Book``, at a time that stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.book = Book()
        self.names = ServerNames(lambda: self.now, self.book)

    async def find(self, *names: str) -> None:
        found = asyncio.Event()
        self.names.find(names, found.set)
        await found.wait()


def test_answers_are_kept_while_they_hold() -> None:
    async def run() -> None:
        it = Names()
        it.book.hosts = {"one": "192.0.2.1"}
        await it.find("one", "two", "one")
        assert (it.names.addresses("one"), it.names.addresses("two")) == (("192.0.2.1",), ())
        assert it.names.problem("two") == "there is no two"
        it.book.hosts["two"] = "192.0.2.2"
        await it.find("one", "two")  # a failure does not hold
        assert it.names.addresses("two") == ("192.0.2.2",)
        assert sorted(it.book.asked) == ["one", "two", "two"]
        called: list[int] = []
        it.names.find(["one", "two"], lambda: called.append(1))  # all is known
        assert called
        it.now, it.book.hosts = 10.0, {"two": "192.0.2.22"}
        await it.find("one", "two")  # what was known goes on being used
        assert (it.names.addresses("one"), it.names.addresses("two")) == (("192.0.2.1",), ("192.0.2.22",))
        await it.find("two")
        assert it.names.addresses("one") == ()

    asyncio.run(run())


def test_no_more_names_than_a_cluster_has() -> None:
    async def run() -> None:
        it = Names()
        await it.find(*(f"n{number:05}" for number in range(MAX_NAMES + 1)))
        assert len(it.book.asked) == MAX_NAMES
        assert it.names.problem(f"n{MAX_NAMES:05}") == "too many names"

    asyncio.run(run())


def test_another_search_ends_the_one_before() -> None:
    async def run() -> None:
        it = Names()
        called: list[int] = []
        it.names.find(["one"], lambda: called.append(1))
        await it.find("two")
        assert not called
        it.names.find(["three"], lambda: called.append(1))
        it.names.close()
        await asyncio.sleep(0)
        assert not called

    asyncio.run(run())


@needs("redis-server")
def test_sentinel_says_names(redis: RedisServer, proxy: StartProxy, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "sentinel.conf"
    file.write_text(
        f"port {port}\nbind {HOST}\ndir {tmp_path}\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n"
        f"sentinel monitor mymaster localhost {redis.port} 1\n"
    )
    sentinel = [program("redis-server"), str(file), "--sentinel"]
    with running(sentinel, log=tmp_path / "log", ready=lambda: accepts(port)):
        seeds = {"cache": {"endpoints": [f"{HOST}:{port}"]}}
        through = proxy(RedisProxy, cluster="cache", topology="sentinel", primary_name="mymaster", clusters=seeds)
        with RedisConnection(through.address[1]) as client:
            wait_for("the primary is known", lambda: client.ask("GET", "names:no") is None)
        assert through.stat("l4proxy_redis_endpoint_commands_total", endpoint=f"localhost:{redis.port}")
