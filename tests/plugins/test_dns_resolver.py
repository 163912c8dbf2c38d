from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from clusters import run
from dns_server import DnsServer, Mood, name_server
from l4proxy.address import Address
from l4proxy.plugins.dns_resolver import DnsResolver
from l4proxy.resolver import Addresses, ResolveError, Service, Services

Test = Callable[[DnsServer, DnsResolver], Awaitable[None]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An ``/etc/resolv.conf`` (with short timeouts) and an empty ``/etc/hosts``."""
    conf, hosts = tmp_path / "resolv.conf", tmp_path / "hosts"
    conf.write_text("options timeout:1 attempts:1\n")
    hosts.write_text("")
    return conf, hosts


def ask(files: tuple[Path, Path], test: Test, *, further: tuple[Address, ...] = ()) -> None:
    """Run a test against a name server and a resolver that asks it."""

    async def main() -> None:
        async with name_server() as server:
            await test(server, DnsResolver((*further, server.address), resolv_conf=files[0], hosts=files[1]))

    run(main)


def test_addresses_of_both_families_and_the_lower_ttl(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["db.test"] = ["60 A 10.0.0.1", "50 A 10.0.0.2", "70 AAAA 2001:db8::1"]
        assert await resolver.addresses("db.test") == Addresses(("2001:db8::1", "10.0.0.1", "10.0.0.2"), 50)
        assert sorted(server.queries) == ["A db.test", "AAAA db.test"]

    ask(files, test)


def test_names_are_asked_for_in_any_case_and_with_a_last_dot(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["db.test"] = ["60 A 10.0.0.1"]
        assert (await resolver.addresses("DB.Test.")).hosts == ("10.0.0.1",)

    ask(files, test)


def test_aliases_are_followed_and_their_ttl_counts(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["www.test"] = ["5 CNAME web.test"]
        server.records["web.test"] = ["60 A 10.0.0.1"]
        assert await resolver.addresses("www.test") == Addresses(("10.0.0.1",), 5)

    ask(files, test)


def test_services(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["_kafka._tcp.test"] = ["30 SRV 10 5 9092 a.test", "20 SRV 20 0 9093 b.test"]
        assert await resolver.services("_kafka._tcp.test") == Services(
            (Service("a.test.", 9092, 10, 5), Service("b.test.", 9093, 20, 0)), 20
        )

    ask(files, test)


def test_a_service_that_is_decidedly_not_there(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["_kafka._tcp.test"] = ["30 SRV 0 0 0 ."]
        with pytest.raises(ResolveError, match="has no server"):
            await resolver.services("_kafka._tcp.test")

    ask(files, test)


def test_a_truncated_answer_is_asked_for_over_tcp(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        many = [f"60 A 10.0.{one // 250}.{one % 250}" for one in range(500)]
        server.records["many.test"] = many
        server.mood = "truncate"
        answer = await resolver.addresses("many.test")
        assert [f"60 A {host}" for host in answer.hosts] == many
        assert "tcp A many.test" in server.queries

    ask(files, test)


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("none.test", "not_found", "there is no none.test"),
        ("empty.test", "not_found", "empty.test has no address"),
        (f"{'x' * 64}.test", "not_found", "is not a domain name"),
    ],
)
def test_names_that_are_not_there(name: str, code: str, text: str, files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["empty.test"] = []
        with pytest.raises(ResolveError, match=text) as caught:
            await resolver.addresses(name)
        assert caught.value.code == code

    ask(files, test)


@pytest.mark.parametrize(
    ("mood", "code", "text"),
    [
        ("silent", "timeout", "does not answer"),
        ("garbage", "failed", "DNS: "),
        ("servfail", "failed", "failed"),
        ("refused", "failed", "refuses to answer"),
    ],
)
def test_servers_that_are_of_no_help(mood: Mood, code: str, text: str, files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.mood = mood
        with pytest.raises(ResolveError, match=f"name server 127.0.0.1:{server.address.port}.*{text}") as caught:
            await resolver.addresses("db.test")
        assert caught.value.code == code

    ask(files, test)


def test_all_servers_are_asked_before_giving_up(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["db.test"] = ["60 A 10.0.0.1"]
        assert (await resolver.addresses("db.test")).hosts == ("10.0.0.1",)

    ask(files, test, further=(Address("127.0.0.1", 1), Address("::1", 1)))


def test_servers_are_asked_as_often_as_configured(files: tuple[Path, Path]) -> None:
    files[0].write_text("options attempts:3")

    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.mood = "servfail"
        with pytest.raises(ResolveError):
            await resolver.services("_x._tcp.test")
        assert server.queries == ["SRV _x._tcp.test"] * 3

    ask(files, test)


def test_search_domains(files: tuple[Path, Path]) -> None:
    files[0].write_text("search one.test two.test\noptions ndots:2")

    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["db.two.test"] = ["60 A 10.0.0.1"]
        server.records["a.b.c"] = ["60 A 10.0.0.2"]
        assert (await resolver.addresses("db")).hosts == ("10.0.0.1",)
        assert [query for query in server.queries if query.startswith("A ")] == ["A db.one.test", "A db.two.test"]
        server.queries.clear()
        assert (await resolver.addresses("a.b.c")).hosts == ("10.0.0.2",)
        assert sorted(server.queries) == ["A a.b.c", "AAAA a.b.c"]
        with pytest.raises(ResolveError, match="there is no db"):
            await resolver.addresses("db.")

    ask(files, test)


def test_the_hosts_file_comes_first_and_is_read_again(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.records["db.test"] = ["60 A 10.0.0.1"]
        files[1].write_text("10.9.9.9 DB.test\n")
        assert await resolver.addresses("db.test") == Addresses(("10.9.9.9",))
        assert server.queries == []
        files[1].write_text("# nothing any more\n")
        assert (await resolver.addresses("db.test")).hosts == ("10.0.0.1",)

    ask(files, test)


def test_the_system_is_asked_at_last(files: tuple[Path, Path]) -> None:
    async def main() -> None:
        files[0].write_text("nameserver 127.0.0.254")  # nobody listens there
        resolver = DnsResolver(resolv_conf=files[0], hosts=files[1])
        assert set((await resolver.addresses("localhost")).hosts) & {"127.0.0.1", "::1"}

    run(main)


def test_waiting_for_an_answer_can_be_cancelled(files: tuple[Path, Path]) -> None:
    async def test(server: DnsServer, resolver: DnsResolver) -> None:
        server.mood = "silent"
        task = asyncio.create_task(resolver.addresses("db.test"))
        while not server.queries:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ask(files, test)
