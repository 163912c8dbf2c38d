from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.address import Address
from l4proxy.plugins.host_files import ReadFile, ResolvConf, is_ip, parse_hosts, parse_resolv_conf

KUBERNETES = """\
nameserver 10.96.0.10
search default.svc.cluster.local svc.cluster.local cluster.local
options ndots:5
"""


def test_kubernetes() -> None:
    conf = parse_resolv_conf(KUBERNETES)
    assert conf.servers == (Address("10.96.0.10", 53),)
    assert conf.candidates("db") == [
        "db.default.svc.cluster.local",
        "db.svc.cluster.local",
        "db.cluster.local",
        "db",
    ]
    assert conf.candidates("a.b.c.d.e.f")[0] == "a.b.c.d.e.f"
    assert conf.candidates("db.") == ["db"]


def test_everything_that_is_understood() -> None:
    conf = parse_resolv_conf(
        "# comment\n; another\ndomain old.test\nsearch new.test.\nnameserver fe80::1%eth0 # here\nnameserver 1.2.3.4\n"
        "options rotate timeout:3 attempts:99 ndots:0 edns0 timeout:x unknown:1\nsortlist 1.2.3.4\n"
    )
    servers = (Address("fe80::1%eth0", 53), Address("1.2.3.4", 53))
    assert conf == ResolvConf(servers, ("new.test",), ndots=0, timeout=3, attempts=5, rotate=True)


@pytest.mark.parametrize("text", ["", "nameserver\n", "options", "search\n", "\0\n\n", "nameserver dns\n"])
def test_nothing_said(text: str) -> None:
    assert parse_resolv_conf(text) == ResolvConf((Address("127.0.0.1", 53),))


HOSTS = """\
127.0.0.1 localhost Me # comment
::1 localhost

# 1.1.1.1 no
127.0.0.1 localhost
10.0.0.1
"""


def test_hosts() -> None:
    assert parse_hosts(HOSTS) == {"localhost": ("127.0.0.1", "::1"), "me": ("127.0.0.1",)}


@given(st.text() | st.text(alphabet="nameserver options:hdt127.0 1;#\n"))
def test_whatever_stands_there_is_read(text: str) -> None:
    assert all(is_ip(server.host) for server in parse_resolv_conf(text).servers)
    assert all(is_ip(one) for addresses in parse_hosts(text).values() for one in addresses)


def test_a_file_is_parsed_again_only_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    parsed: list[str] = []

    def parse(text: str) -> str:
        parsed.append(text)
        return text

    file = ReadFile(path, parse)
    assert file.get() == ""
    path.write_text("one")
    assert [file.get(), file.get()] == ["one", "one"]
    path.write_text("two!")
    assert file.get() == "two!"
    os.unlink(path)
    assert file.get() == ""
    assert parsed == ["", "", "one", "two!", ""]
