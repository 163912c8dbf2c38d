"""What is found is held by ``bad/``; here: what is right, and the table of addresses that get in each other's way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from l4proxy.config import Config
from l4proxy.errors import ConfigError

LISTENER = '[[listeners]]\naddress = "{}"\nname = "{}"\nfilters = ["echo"]\n'


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        (":80", "127.0.0.1:80", True),
        ("[::1]:80", ":80", True),
        (":80", ":80", True),
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("0.0.0.0:80", "[::]:80", False),
        ("0.0.0.0:80", ":80", True),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "127.0.0.1:80", False),
        ("unix:/run/a", "unix:/run/a", True),
        ("unix:/run/a", "unix:@/run/a", False),
        ("unix:/run/a", ":80", False),
        ("127.0.0.1:80-89", "127.0.0.1:85", True),
        ("127.0.0.1:80", ":70-79", False),
        ("127.0.0.1:80-89", ":89-99", True),
    ],
)
def test_addresses_in_each_others_way(load: Callable[..., Config], one: str, other: str, conflict: bool) -> None:
    text = LISTENER.format(one, "one") + LISTENER.format(other, "other")
    if not conflict:
        load(text)
        return
    with pytest.raises(ConfigError, match=r"^.*listeners\[1\]\.address: .* is taken by listeners\[0\]\.address"):
        load(text)


def test_an_address_that_is_taken_is_one_problem_and_not_two(load: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError) as caught:
        load(LISTENER.format("127.0.0.1:80", "") * 2)
    assert [problem.path for problem in caught.value.problems] == ["listeners[1].address"]
    with pytest.raises(ConfigError) as caught:
        load(LISTENER.format("127.0.0.1:80-90", "") + LISTENER.format(":85-95", ""))
    assert [problem.path for problem in caught.value.problems] == ["listeners[1].address"]


def test_two_listeners_on_any_port_need_names(load: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match=r"listeners\[1\]\.name: '127.0.0.1:0' is the name of listeners\[0\] already"):
        load(LISTENER.format("127.0.0.1:0", "") * 2)
    load(LISTENER.format("127.0.0.1:0", "a") + LISTENER.format("127.0.0.1:0", "b"))


def test_a_listener_may_share_a_name_with_a_cluster(load: Callable[..., Config]) -> None:
    load(LISTENER.format(":80", "db") + '[[clusters]]\nname = "db"\nendpoints = ["db:1"]')


def test_chains_without_names_are_not_called_the_same(load: Callable[..., Config]) -> None:
    chain = '[[listeners.filter_chains]]\nmatch = { ssh = true }\nfilters = ["echo"]\n'
    load('[[listeners]]\naddress = ":80"\n' + chain * 2)


def test_a_cluster_that_is_found_needs_no_endpoints(load: Callable[..., Config]) -> None:
    load(LISTENER.format(":80", "x") + '[[clusters]]\nname = "db"\ndiscovery = "dns"')


def test_references_in_every_corner(load: Callable[..., Config]) -> None:
    filters = '[{ use = "gate", routes = ["a", { prefix = "b", cluster = "x" }] }, { use = "forward", cluster = "y" }]'
    with pytest.raises(ConfigError) as caught:
        load(f'[[listeners]]\naddress = ":80"\n[[listeners.filter_chains]]\nfilters = {filters}')
    assert [problem.path for problem in caught.value.problems] == [
        "listeners[0].filter_chains[0].filters[0].routes[1].cluster",
        "listeners[0].filter_chains[0].filters[1].cluster",
    ]
    assert all(problem.line == 4 for problem in caught.value.problems)
