from __future__ import annotations

import asyncio

from clusters import run, until
from l4proxy.plugins.name_cache import KnownName, NameCache
from l4proxy.resolver import Addresses, ResolveError, Resolver, Services


class Names(Resolver):
    """Answers from a table, when ``open`` says so."""

    def __init__(self) -> None:
        self.table: dict[str, Addresses | ResolveError] = {}
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def addresses(self, host: str) -> Addresses:
        self.asked.append(host)
        await self.open.wait()
        answer = self.table.get(host, ResolveError("not_found", f"there is no {host}"))
        if isinstance(answer, ResolveError):
            raise answer
        return answer

    async def services(self, name: str) -> Services:
        raise NotImplementedError


class Cache(NameCache):
    def __init__(self, names: Names, *, max_names: int = 100, timeout: float = 10) -> None:
        self.now = 1000.0
        super().__init__(
            names, lambda: self.now, max_names=max_names, timeout=timeout, min_ttl=2, max_ttl=100, refresh=5
        )


def test_an_answer_is_kept_for_its_time() -> None:
    async def main() -> None:
        names = Names()
        names.table["a.test."] = Addresses(("192.0.2.1", "2001:db8::1"), 60)
        cache = Cache(names)
        assert cache.known("a.test") is None
        answer = KnownName(("192.0.2.1", "2001:db8::1"), None, 1060)
        assert await cache.look_up("a.test") == answer
        cache.now += 59.9
        assert cache.known("a.test") == answer
        cache.now += 0.1
        assert cache.known("a.test") is None
        assert names.asked == ["a.test."]

    run(main)


def test_times_are_bounded() -> None:
    async def main() -> None:
        names = Names()
        ttls = {"short": 0.0, "long": 1e9, "silent": None}
        for name, ttl in ttls.items():
            names.table[f"{name}."] = Addresses(("192.0.2.1",), ttl)
        cache = Cache(names)
        kept = {name: (await cache.look_up(name)).until - cache.now for name in [*ttls, "missing"]}
        assert kept == {"short": 2, "long": 100, "silent": 5, "missing": 5}

    run(main)


def test_a_failure_is_kept_too() -> None:
    async def main() -> None:
        names = Names()
        cache = Cache(names)
        found = await cache.look_up("a.test")
        assert (found.hosts, found.error and found.error.code) == ((), "not_found")
        assert cache.known("a.test") is found
        cache.now += 5
        names.table["a.test."] = Addresses(("192.0.2.1",))
        assert cache.known("a.test") is None
        assert (await cache.look_up("a.test")).error is None

    run(main)


def test_a_look_up_that_takes_too_long() -> None:
    async def main() -> None:
        names = Names()
        names.open.clear()
        found = await Cache(names, timeout=0.02).look_up("a.test")
        assert found.error is not None
        assert (found.error.code, str(found.error)) == ("timeout", "the look-up of a.test took longer than 0.02 s")

    run(main)


def test_all_who_ask_at_the_same_time_share_a_look_up_that_survives_them() -> None:
    async def main() -> None:
        names = Names()
        names.table["a.test."] = Addresses(("192.0.2.1",), 60)
        names.open.clear()
        cache = Cache(names)
        first, *others = [asyncio.create_task(cache.look_up("a.test")) for _ in range(5)]
        await asyncio.sleep(0)
        first.cancel()
        names.open.set()
        assert {(await other).hosts for other in others} == {("192.0.2.1",)}
        assert first.cancelled()
        assert names.asked == ["a.test."]
        await asyncio.sleep(0)
        assert cache._look_ups == {}

    run(main)


def test_those_asked_for_last_are_kept() -> None:
    async def main() -> None:
        names = Names()
        cache = Cache(names, max_names=3)
        for name in "abc":
            await cache.look_up(name)
        assert cache.known("a")
        await cache.look_up("d")
        assert len(cache) == 3
        assert [name for name in "abcd" if cache.known(name)] == ["a", "c", "d"]

    run(main)


def test_closing_stops_what_is_under_way() -> None:
    async def main() -> None:
        names = Names()
        names.open.clear()
        cache = Cache(names)
        waiting = asyncio.create_task(cache.look_up("a.test"))
        await asyncio.sleep(0)
        cache.close()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        await until(lambda: not cache._look_ups)

    run(main)
