"""The page on watching Kafka says what the code does. Its metrics, operators and plugins are held by the operators'."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from docs.pages import Block, blocks
from kafka_speech import Speech
from l4proxy.cli.main import main
from l4proxy.plugins.kafka import groups, reading, stats
from l4proxy.plugins.kafka.topics import MAX_TOPICS
from l4proxy.protocols.kafka import frames, plan, session
from l4proxy.protocols.kafka.apis import APIS
from source_tree import ROOT, parse

GUIDE = "contrib/guides/kafka.md"
PAGE = (ROOT / GUIDE).read_text()
KIB = 1024


def rows(first_cell: str) -> list[list[str]]:
    """The rows of the table whose head begins so."""
    text = PAGE[PAGE.index(f"| {first_cell} |") :].partition("\n\n")[0]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()[2:]]


def names(first_cell: str) -> set[str]:
    return set(re.findall(r"`(.*?)`", " ".join(row[0] for row in rows(first_cell))))


@pytest.mark.parametrize("block", blocks(GUIDE, "toml"), ids=str)
def test_a_configuration_is_right(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "kafka.toml"
    file.write_text(block.text)
    assert main(["check", str(file)]) == 0


def test_tables_are_those_of_the_live_view() -> None:
    tables = Speech().inspector.tables()
    listed = {row[0].strip("`"): row[2].strip("`") for row in rows("table")}
    assert listed == {table.name: table.into for table in tables}


def test_every_api_is_listed_once() -> None:
    listed = [name for row in rows("what is read") for name in row[1].split(", ")]
    assert sorted(listed) == sorted(api.name for api in APIS.values())
    detail, errors, named = (set(row[1].split(", ")) for row in rows("what is read"))
    assert detail == set(reading._REQUESTS) | set(reading._RESPONSES)
    assert named == {api.name for api in APIS.values() if not api.is_declared}
    assert errors


def texts(*modules: str) -> set[str]:
    """Every string in these modules."""
    paths = [path for module in modules for path in (ROOT / module).rglob("*.py")]
    return {
        node.value
        for path in paths
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_reasons_of_rebalances() -> None:
    assert names("reason") == {
        text for text in texts("plugins/kafka") if text.startswith("member_") and text.count("_") == 1
    } - {"member_id", "member_epoch", "member_type"} | {"assignment"}  # fmt: skip


PROXYING = {"passage.py", "relay.py", "tails.py", "addresses.py", "refusal.py", "rewriting.py", "sasl_client.py"}
"""What the page on proxying is about."""


def codes(raised: str) -> set[str]:
    """The codes of an exception, as they stand where it is raised."""
    return {
        str(keyword.value.value)
        for path in (ROOT / "protocols/kafka").glob("*.py")
        if path.name not in PROXYING
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == raised
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    }


def test_codes_of_what_cannot_be_read() -> None:
    on_demand = {"undecodable", "unknown_version", "bad_record", "bad_compression", "unpack_limit", "unsupported_codec"}
    assert names("code") == codes("Unreadable") - on_demand | {frames.GAP}
    assert codes("RemoteProtocolError") <= set(re.findall(r"`(\w+)`", PAGE[PAGE.index("| reason | meaning |") :]))


def test_keys_of_the_filter_state() -> None:
    listed = set(re.findall(r"^\| `(kafka:\w+)` \|", PAGE, re.MULTILINE))
    assert listed == {text for text in texts("plugins/kafka") if re.fullmatch(r"kafka:\w+", text)}


def test_the_figures_are_those_of_the_code() -> None:
    listed = dict(row[:2] for row in rows("what"))
    assert listed["a request or response that is collected"].startswith(f"{frames.COLLECT // KIB} KiB")
    assert f"{frames.MAX_FRAME // KIB // KIB} MiB" in listed["a request or response at all"]
    assert listed["requests of a connection that wait for a response"] == f"{session.MAX_IN_FLIGHT:,}"
    assert listed["topics, groups that are told apart"] == f"{MAX_TOPICS:,} and {groups.MAX_GROUPS:,}"
    assert listed["open transactions with offsets"] == f"{groups.MAX_TRANSACTIONS:,}"
    assert listed["pairs of API and version that are not known"] == f"{plan.PLANS_LIMIT:,}"
    budgets = f"{stats.PARTITIONS:,} partitions, {stats.TOPICS:,} topics and groups, {stats.CLIENTS:,}"
    assert budgets in PAGE.replace("\n", " ")
