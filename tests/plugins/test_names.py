from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusters import config, run
from l4proxy.address import Address
from l4proxy.config.types import Duration
from l4proxy.discovery import Discovery, Update
from l4proxy.endpoint import EndpointSpec
from l4proxy.filter import NoConfig
from l4proxy.plugins.names import DnsConfig, Make, Names, is_literal, one_endpoint, one_endpoint_each
from l4proxy.resolver import Addresses, ResolveError, Resolver, Service, Services

DEFAULTS = DnsConfig()


class Table(Resolver):
    """Answers from two dictionaries that a test may change."""

    def __init__(self, **hosts: Addresses) -> None:
        self.hosts = dict(hosts)
        self.answers: dict[str, Services] = {}
        self.asked: list[str] = []

    async def addresses(self, host: str) -> Addresses:
        self.asked.append(host)
        await asyncio.sleep(0)
        if host not in self.hosts:
            raise ResolveError("not_found", f"there is no {host}")
        return self.hosts[host]

    async def services(self, name: str) -> Services:
        self.asked.append(name)
        if name not in self.answers:
            raise ResolveError("not_found", f"there is no {name}")
        return self.answers[name]


class Quiet(Discovery[NoConfig]):
    name = "quiet"

    async def run(self, update: Update) -> None:
        raise NotImplementedError


class Following:
    """Names that are being followed: the updates so far, and the pauses between look-ups, which take no time here."""

    def __init__(self, resolver: Table, entries: Sequence[str], make: Make, options: DnsConfig) -> None:
        self.updates: list[list[EndpointSpec]] = []
        self.pauses: list[float] = []
        self.resolver = resolver
        cluster = config(*entries) if entries else config("127.0.0.1:1")
        self.discovery = Quiet(NoConfig(), cluster)
        self._names = Names(options, make, self.discovery, resolver)
        self._entries = cluster.endpoints if entries else ()

    async def go_on(self, done: Callable[[], object]) -> None:
        """Follow until something is so."""
        real_sleep = asyncio.sleep

        async def no_sleep(seconds: float) -> None:
            if seconds:
                self.pauses.append(seconds)
            await real_sleep(0.001 if seconds else 0)

        with pytest.MonkeyPatch.context() as patch:
            keep = self._names.follow(self._entries, lambda specs: self.updates.append(list(specs)))
            task = asyncio.create_task(keep)
            await real_sleep(0)
            patch.setattr("l4proxy.plugins.names.asyncio.sleep", no_sleep)
            patch.setattr("l4proxy.plugins.names.random.uniform", lambda low, high: low)
            while not done() and not task.done():
                await real_sleep(0.001)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await task

    @property
    def names(self) -> list[list[str]]:
        return [[spec.name for spec in update] for update in self.updates]


def follow(
    resolver: Table,
    *entries: str,
    make: Make = one_endpoint_each,
    options: DnsConfig = DEFAULTS,
    done: Callable[[Following], object],
) -> Following:
    async def main() -> Following:
        following = Following(resolver, entries, make, options)
        await following.go_on(lambda: done(following))
        return following

    return run(main)


def spec(address: str, hostname: str = "", weight: int = 1) -> EndpointSpec:
    return EndpointSpec.of_address(Address.parse(address), hostname=hostname, weight=weight)


@pytest.mark.parametrize(
    ("address", "literal"),
    [("10.0.0.1:80", True), ("[::1]:80", True), ("[fe80::1%lo]:80", True), ("unix:/s", True), ("db:80", False)],
)
def test_which_addresses_need_no_look_up(address: str, literal: bool) -> None:
    assert is_literal(Address.parse(address)) is literal


# What is made of an answer

ADDRESSES = ["10.0.0.2", "2001:db8::1", "10.0.0.1", "2001:db8::2", "10.0.0.3"]


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("auto", ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]),
        ("ipv4", ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]),
        ("ipv6", ["[2001:db8::1]:80", "[2001:db8::2]:80"]),
        ("all", ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "[2001:db8::1]:80", "[2001:db8::2]:80"]),
    ],
)
def test_one_endpoint_each(family: str, expected: list[str]) -> None:
    specs = one_endpoint_each("db", 80, 3, ADDRESSES, family)  # type: ignore[arg-type]
    assert specs == [spec(one, "db", 3) for one in expected]


def test_auto_takes_ipv6_where_there_is_nothing_else() -> None:
    assert one_endpoint_each("db", 80, 1, ["::1"], "auto") == [spec("[::1]:80", "db")]


def test_one_endpoint_has_the_families_in_turn() -> None:
    (one,) = one_endpoint("db", 80, 3, ADDRESSES, "auto")
    assert (one.name, one.hostname, one.weight) == ("db:80", "db", 3)
    assert [address.host for address in one.addresses] == [
        "2001:db8::1",
        "10.0.0.2",
        "2001:db8::2",
        "10.0.0.1",
        "10.0.0.3",
    ]


@given(st.permutations(ADDRESSES))
def test_the_order_of_an_answer_does_not_change_endpoints(answer: list[str]) -> None:
    assert one_endpoint_each("db", 80, 1, answer, "all") == one_endpoint_each("db", 80, 1, ADDRESSES, "all")


# Following


def test_literal_addresses_are_known_at_once_and_joined_by_names() -> None:
    table = Table(db=Addresses(("10.0.0.1",), 60))
    done = follow(table, "127.0.0.1:1", "db:2", done=lambda f: len(f.updates) == 2)
    assert done.names == [["127.0.0.1:1"], ["127.0.0.1:1", "10.0.0.1:2"]]


@pytest.mark.parametrize(("ttl", "pause"), [(60, 60), (0, 2), (10_000, 300), (None, 7)])
def test_the_ttl_is_kept_within_bounds(ttl: float | None, pause: float) -> None:
    table = Table(db=Addresses(("10.0.0.1",), ttl))
    options = DnsConfig(min_ttl=Duration(2.0), max_ttl=Duration(300.0), refresh=Duration(7.0))
    done = follow(table, "db:1", options=options, done=lambda f: f.pauses)
    assert done.pauses[0] == pause


def test_an_unchanged_answer_is_no_update() -> None:
    table = Table(db=Addresses(("10.0.0.1",), 1))
    done = follow(table, "db:1", done=lambda f: len(table.asked) == 5)
    assert done.names == [["10.0.0.1:1"]]
    assert done.discovery.failures == 0


def test_a_changed_answer_is_an_update() -> None:
    table = Table(db=Addresses(("10.0.0.1",), 1))

    def done(following: Following) -> bool:
        if following.updates:
            table.hosts["db"] = Addresses(("10.0.0.2", "10.0.0.1"), 1)
        return len(following.updates) == 2

    assert follow(table, "db:1", done=done).names == [["10.0.0.1:1"], ["10.0.0.1:1", "10.0.0.2:1"]]


def test_a_failed_look_up_keeps_what_is_known() -> None:
    table = Table(db=Addresses(("10.0.0.1",), 1))

    def done(following: Following) -> bool:
        if following.updates:
            table.hosts.clear()
        return following.discovery.failures == 3

    following = follow(table, "db:1", done=done)
    assert following.names == [["10.0.0.1:1"]]
    assert following.discovery.problem == "db:1: there is no db"


def test_pauses_grow_while_look_ups_fail_and_shrink_when_one_succeeds() -> None:
    table = Table()
    options = DnsConfig(refresh=Duration(5.0), max_ttl=Duration(30.0))

    def done(following: Following) -> bool:
        if len(following.pauses) == 5:
            table.hosts["db"] = Addresses(("10.0.0.1",), None)
        return len(following.pauses) == 6

    following = follow(table, "db:1", options=options, done=done)
    assert following.pauses == [5, 10, 20, 30, 30, 5]
    assert following.discovery.problem == ""


def test_nothing_found_is_said_once_all_names_were_looked_up() -> None:
    done = follow(Table(), "one:1", "two:1", done=lambda f: f.discovery.failures >= 4)
    assert done.names == [[]]
    assert done.discovery.problem == "one:1: there is no one; two:1: there is no two"


def test_one_name_does_not_wait_for_another() -> None:
    table = Table(two=Addresses(("10.0.0.2",), 60))
    done = follow(table, "one:1", "two:1", done=lambda f: f.updates)
    assert done.names == [["10.0.0.2:1"]]


def test_a_name_without_an_address_of_the_family() -> None:
    table = Table(db=Addresses(("10.0.0.1",), 1))
    done = follow(table, "db:1", options=DnsConfig(family="ipv6"), done=lambda f: f.discovery.failures)
    assert done.discovery.problem == "db:1: has no ipv6 address"


def test_what_an_update_raises_ends_following() -> None:
    async def main() -> None:
        following = Following(Table(db=Addresses(("10.0.0.1",), 1)), ["db:1"], one_endpoint, DnsConfig())

        def refuse(specs: Sequence[EndpointSpec]) -> None:
            raise RuntimeError("no")

        with pytest.raises(ExceptionGroup):
            await following._names.follow(following._entries, refuse)

    run(main)


# Services


def services(*found: Service, ttl: float | None = 60, **hosts: Addresses) -> Table:
    table = Table(**hosts)
    table.answers["_db._tcp.test"] = Services(found, ttl)
    return table


SERVICE = DnsConfig(services=("_db._tcp.test",))


def test_services_say_ports_and_weights() -> None:
    table = services(Service("a.", 1, 0, 0), Service("b.", 2, 0, 7))
    table.hosts = {"a.": Addresses(("10.0.0.1",), 40), "b.": Addresses(("10.0.0.2", "10.0.0.3"), 50)}
    done = follow(table, options=SERVICE, done=lambda f: f.updates and f.pauses)
    assert done.updates == [[spec("10.0.0.1:1", "a", 1), spec("10.0.0.2:2", "b", 7), spec("10.0.0.3:2", "b", 7)]]
    assert done.pauses[0] == 40


def test_only_the_lowest_priority_is_used() -> None:
    table = services(Service("a.", 1, 20), Service("b.", 2, 10))
    table.hosts = {"a.": Addresses(("10.0.0.1",)), "b.": Addresses(("10.0.0.2",))}
    assert follow(table, options=SERVICE, done=lambda f: f.updates).names == [["10.0.0.2:2"]]


def test_servers_of_a_service_that_cannot_be_found_are_left_out() -> None:
    table = services(Service("a.", 1), Service("b.", 2))
    table.hosts = {"b.": Addresses(("10.0.0.2",))}
    assert follow(table, options=SERVICE, make=one_endpoint, done=lambda f: f.updates).names == [["b:2"]]


def test_a_service_of_which_nothing_can_be_found_has_failed() -> None:
    done = follow(services(Service("a.", 1)), options=SERVICE, done=lambda f: f.discovery.failures)
    assert done.discovery.problem == "_db._tcp.test: there is no a."


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="refresh: must be more than 0"):
        DnsConfig(refresh=Duration(0.0))
    with pytest.raises(ValueError, match="min_ttl: must be more than 0 and at most max_ttl"):
        DnsConfig(min_ttl=Duration(10.0), max_ttl=Duration(1.0))
    with pytest.raises(ValueError, match="servers: dns:53 is not the address of a name server"):
        DnsConfig(servers=(Address("dns", 53),))
