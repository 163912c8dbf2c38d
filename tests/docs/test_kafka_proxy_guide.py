"""The page on proxying Kafka says what the code does. Its metrics, reasons and plugins are held by the operators'."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from docs.pages import Block, blocks
from kafka_front import Filtered, with_filters
from kafka_messages import DECLARED
from l4proxy.cli.main import main
from l4proxy.plugins.kafka_proxy import brokers, filter, quick
from l4proxy.protocols.kafka import addresses, frames, passage, relay, tails
from services.certs import Certs
from source_tree import ROOT

GUIDE = "contrib/guides/kafka-proxy.md"
PAGE = (ROOT / GUIDE).read_text()
KIB = 1024
MIB = KIB * KIB


@pytest.mark.parametrize("block", blocks(GUIDE, "toml"), ids=str)
def test_a_configuration_is_right(block: Block, tmp_path: Path, certs: Certs, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAIN_PASSWORD", "LOGS_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    shutil.copy(certs.server.cert, tmp_path / "kafka.pem")
    shutil.copy(certs.server.key, tmp_path / "kafka.key")
    file = tmp_path / "kafka.toml"
    file.write_text(block.text)
    assert main(["check", str(file)]) == 0


def test_the_filter_on_the_page_works() -> None:
    (block,) = blocks(GUIDE, "python")
    plugin = ModuleType("few_partitions")
    exec(compile(block.text, GUIDE, "exec"), plugin.__dict__)

    @with_filters({"use": "few_partitions"}, plugins=[plugin])
    async def story(it: Filtered) -> None:
        for partitions, error in ((50, 0), (51, 44)):
            topics = [{"name": "a", "num_partitions": partitions}]
            it.answer("CreateTopics", topics=[{"name": "a"}])
            answer = await it.client.ask("CreateTopics", 5, topics=topics)
            assert answer["topics"][0]["error_code"] == error


def test_every_api_that_is_changed_is_listed() -> None:
    text = PAGE.partition("# What is changed\n")[2]
    table = text[: text.index("\n\nOnly")]
    listed = set(re.findall(r"\b[A-Z]\w+[a-z]\b", " ".join(row.split("|")[1] for row in table.splitlines() if row)))
    changed = {api.name for api in DECLARED if addresses.rewrite_of(api, api.last) is not None}
    assert listed == changed | {"ApiVersions"}


def test_the_figures_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    for figure in (
        f"`max_frame`, {frames.MAX_FRAME // MIB} MiB",
        f"`max_message`, {passage.MAX_MESSAGE // MIB} MiB",
        f"a list of brokers | {tails.KEPT_LIMIT // MIB} MiB",
        f"{filter.MAX_IN_FLIGHT:,} |",
        f"{brokers.KNOWN_LIMIT:,} |",
        f"a header of more than {relay.HEADER_LIMIT // KIB} KiB",
        f"The {quick.BROKER_PORTS} ports behind it",
    ):
        assert figure in text, figure
