"""The page on watching Redis says what the code does. Its metrics, operators and plugins are held by the operators'."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from docs.pages import Block, blocks
from l4proxy.cli.main import main
from l4proxy.plugins.redis_watch import stats, view
from l4proxy.plugins.redis_watch.config import RedisWatchConfig
from l4proxy.plugins.redis_watch.filter import RedisFilterConfig
from l4proxy.plugins.redis_watch.inspector import RedisInspector
from l4proxy.stats_registry import StatsRegistry
from source_tree import ROOT, parse

GUIDE = "contrib/guides/redis-watch.md"
PAGE = (ROOT / GUIDE).read_text()


def rows(first_cell: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    text = PAGE[PAGE.index(f"| {first_cell} |") :].partition("\n\n")[0]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()[2:]]


def texts(*folders: str) -> set[str]:
    """Every string in these folders."""
    return {
        node.value
        for folder in folders
        for path in (ROOT / folder).glob("*.py")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


@pytest.mark.parametrize("block", blocks(GUIDE, "toml"), ids=str)
def test_a_configuration_is_right(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "redis.toml"
    file.write_text(block.text)
    assert main(["check", str(file)]) == 0


def test_tables_are_those_of_the_live_view() -> None:
    tables = RedisInspector(RedisWatchConfig(), StatsRegistry()).tables()
    listed = {row[0].strip("`"): row[2].strip("`") for row in rows("table")}
    assert listed == {table.name: table.into for table in tables}


def test_keys_of_the_filter_state() -> None:
    listed = {row[0].strip("`") for row in rows("key")}
    assert listed == {text for text in texts("plugins/redis_watch") if re.fullmatch(r"redis:\w+", text)}


def test_reasons_of_what_cannot_be_read() -> None:
    listed = set(re.findall(r"`(\w+)`", " ".join(row[0] for row in rows("reason"))))
    assert {"replication", "max_in_flight", "unasked"} <= listed
    codes = {
        keyword.value.value
        for name in ("reply", "values")
        for node in ast.walk(parse(ROOT / f"protocols/redis/{name}.py"))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RemoteProtocolError"
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }
    assert codes | {"max_bulk", "max_elements"} <= listed


def test_the_figures_are_those_of_the_code() -> None:
    assert stats.CLIENTS == stats.PREFIXES == 1000
    assert f"{stats.CommandStats.label_budget} commands, {stats.CLIENTS:,} clients and prefixes" in PAGE
    assert f"more than {RedisFilterConfig().keys_per_second:,} commands a second" in PAGE
    assert f"Keys longer than {view.LONGEST_KEY} bytes" in PAGE
