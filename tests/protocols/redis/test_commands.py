from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from l4proxy.codec import RemoteProtocolError
from l4proxy.protocols.redis import commands
from l4proxy.protocols.redis.commands import BUILT_IN, UNKNOWN, Command, CommandTable, check_names
from l4proxy.protocols.redis.keys import read_key_specs
from l4proxy.protocols.redis.request import encode_command
from services.needs import needs
from services.redis import RedisServer
from source_tree import ROOT

SCRIPT = ROOT / "contrib/redis/write_command_table.py"
TABLE = ROOT / "protocols/redis/command_data.py"
BEYOND = ROOT / "protocols/redis/valkey_command_data.py"


@needs("redis-server")
def test_the_table_is_what_the_server_says(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the script writes of this server is in the table, which may be of a later one."""
    assert _missing(TABLE, redis, monkeypatch, capsys) == set()


@needs("valkey-server")
def test_the_table_has_what_valkey_has_beyond_redis(
    valkey_twins: tuple[RedisServer, RedisServer], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _missing(BEYOND, valkey_twins[0], monkeypatch, capsys, "--beyond") == set()


def _missing(
    table: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> set[str]:
    """What the script writes, and is not there."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), server.address, *options])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 0
    written = set(capsys.readouterr().out.splitlines())
    return {
        line for line in written - set(table.read_text().splitlines()) if not re.match("(Redis|Valkey) [0-9]", line)
    }


def test_a_command() -> None:
    get = BUILT_IN.find("GET")
    assert get is not None
    assert (get.name, get.arity, get.since) == ("GET", 2, "1.0.0")
    assert get.is_readonly
    assert not get.is_write
    assert get.takes_keys
    assert "string" in get.categories
    assert (get.fits(2), get.fits(3)) == (True, False)
    mget = BUILT_IN.find("MGET")
    assert mget is not None
    assert (mget.fits(1), mget.fits(2), mget.fits(9)) == (False, True, True)
    assert mget.request_policy == "multi_shard"
    dbsize = BUILT_IN.find("DBSIZE")
    assert dbsize is not None
    assert (dbsize.request_policy, dbsize.response_policy) == ("all_shards", "agg_sum")


def test_subcommands() -> None:
    assert BUILT_IN.of([b"config", b"get", b"*"]).name == "CONFIG|GET"
    assert BUILT_IN.of([b"CONFIG", b"nonsense"]).name == "CONFIG"
    assert BUILT_IN.of([b"CONFIG"]).name == "CONFIG"
    assert BUILT_IN.of([b"nonsense"]) is UNKNOWN
    assert all("|" not in command.name for command in BUILT_IN)
    assert len(list(BUILT_IN)) >= 240


def test_commands_of_modules() -> None:
    own = Command("JSON.GET", -2, frozenset({"readonly"}), key_specs=read_key_specs("1 range 0 1 0 RO access"))
    table = CommandTable([own])
    assert table.of([b"json.get", b"doc"]).keys([b"json.get", b"doc"]) == [b"doc"]
    assert own in list(table)
    assert BUILT_IN.find("JSON.GET") is None


def test_heads_are_made_once_for_each_spelling() -> None:
    table = CommandTable()
    head = table.head(b"*2\r\n$3\r\nGET\r\n")
    assert head is not None
    assert table.heads[b"*2\r\n$3\r\nGET\r\n"] is head
    assert (head.name, head.argc, head.command) == ("GET", 2, table.find("GET"))
    assert table.head(b"*2\r\n$3\r\nget\r\n") is not head
    unknown = table.head(b"*1\r\n$4\r\nnope\r\n")
    assert unknown is not None
    assert unknown.command is UNKNOWN


def test_a_name_is_as_long_as_it_says() -> None:
    table = CommandTable()
    assert table.head(b"*1\r\n$5\r\nPING\r\n") is None
    assert table.head(b"*1\r\n$3\r\nPING\r\n") is None
    assert not table.heads


def test_heads_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_HEADS", 10)
    table = CommandTable()
    for number in range(100):
        table.head(b"*1\r\n$3\r\n%03d\r\n" % number)
        assert len(table.heads) <= 10
    table.head(b"*1\r\n$2000\r\n" + b"a" * 2000 + b"\r\n")
    assert len(table.heads) <= 10


def test_names_may_hold_any_byte() -> None:
    head = CommandTable().head(b"*1\r\n$4\r\na\r\nb\r\n")
    assert head is not None
    assert head.name == "A\r\nB"


@pytest.mark.parametrize("name", [b"POST", b"host:"])
def test_http_is_refused(name: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as error:
        CommandTable().head(encode_command(name))
    assert error.value.code == "cross_protocol"
    assert error.value.reply == b""


def test_the_script_says_where_it_writes() -> None:
    assert str(TABLE.relative_to(ROOT)) in Path(SCRIPT).read_text()


@pytest.mark.parametrize(("name", "near"), [("flushal", "FLUSHALL"), ("CONFIG GET", "CONFIG|GET"), ("GETT", "GET")])
def test_a_misspelt_name(name: str, near: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"commands[1]: there is no command {name!r} (did you mean {near!r}?)")
    ):
        check_names("commands", ["get", name])


def test_names_that_can_be_meant() -> None:
    check_names("commands", ["flushall", "CLIENT|KILL", "JSON.GET", "FLUSHALL.", "my-own-command"])
