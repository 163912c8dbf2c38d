from __future__ import annotations

import socket

import pytest

from clusters import run
from l4proxy.resolver import Addresses, ResolveError, SystemResolver


def test_localhost() -> None:
    answer = run(lambda: SystemResolver().addresses("localhost"))
    assert set(answer.hosts) & {"127.0.0.1", "::1"}
    assert answer.ttl is None


def test_addresses_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **options: found)
    assert run(lambda: SystemResolver().addresses("db")) == Addresses(("::1", "127.0.0.1"))


@pytest.mark.parametrize(
    ("number", "code"),
    [(socket.EAI_NONAME, "not_found"), (socket.EAI_AGAIN, "timeout"), (socket.EAI_FAIL, "not_found")],
)
def test_failures_have_names(number: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> object:
        raise socket.gaierror(number, "so it is")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    with pytest.raises(ResolveError, match="so it is") as caught:
        run(lambda: SystemResolver().addresses("db"))
    assert caught.value.code == code


def test_what_is_no_name_is_not_found() -> None:
    with pytest.raises(ResolveError) as caught:
        run(lambda: SystemResolver().addresses("x" * 300))
    assert caught.value.code == "not_found"


def test_services_need_dns() -> None:
    with pytest.raises(ResolveError, match="cannot look up services"):
        run(lambda: SystemResolver().services("_x._tcp.test"))
