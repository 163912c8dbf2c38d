"""The Redis guide: each recipe is run in front of a server, and redis-cli gets what the page shows."""

from __future__ import annotations

import asyncio
import re
import shlex
import tomllib
from collections.abc import Iterator

import pytest

from clusters import run
from docs.pages import Block, blocks
from l4proxy import serve
from l4proxy.plugins.redis import replies
from l4proxy.plugins.redis_block import SWITCHES
from services.needs import needs
from services.redis import RedisServer, redis_server
from source_tree import ROOT

GUIDE = "contrib/guides/redis.md"
PAGE = (ROOT / GUIDE).read_text()
RECIPES = blocks(GUIDE, "toml")
ANSWERS = {block.heading: block for block in blocks(GUIDE, "console")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Of this page's own: the keys are those that it shows."""
    with redis_server(tmp_path_factory.mktemp("redis_guide")) as server:
        server.command("set", "greeting", "hello")
        yield server


def test_each_recipe_has_an_answer() -> None:
    assert len(RECIPES) > 5
    assert {block.heading for block in RECIPES} == ANSWERS.keys()


@needs("redis-cli")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda block: block.heading)
def test_a_recipe_does_what_it_says(recipe: Block, server: RedisServer) -> None:
    text = recipe.text.replace("127.0.0.1:6380", "127.0.0.1:0").replace('":6380"', '"0.0.0.0:0"')
    text = text.replace("127.0.0.1:6379", server.address)

    async def follow() -> None:
        async with serve({**tomllib.loads(text), "drain_time": 0}) as proxy:
            ((address,),) = proxy.addresses.values()
            got: list[str] = []
            for line in ANSWERS[recipe.heading].text.splitlines():
                if line.startswith("$ "):
                    got = await output(line[2:].replace("-p 6380", f"-p {address.port}"))
                else:
                    assert any(shown.startswith(line) for shown in got), got

    run(follow)


async def output(command: str) -> list[str]:
    process = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode().splitlines()


def test_the_replies_of_the_page_are_those_of_the_proxy() -> None:
    shown = {text.removesuffix("`").strip("`") for text in re.findall(r"^\| (`ERR .*?`) ", PAGE, re.MULTILINE)}
    said = {
        value.decode().strip()[1:]
        for value in vars(replies).values()
        if isinstance(value, bytes) and value.startswith(b"-ERR ") and re.search(b"upstream|this proxy", value)
    }
    assert said <= shown


def test_the_filter_of_the_page_is_the_package() -> None:
    block = blocks(GUIDE, "python")[0]
    package = (ROOT / "contrib/l4proxy-max-value/l4proxy_max_value.py").read_text()
    assert package.partition("\n\n")[2] == block.text


def test_switches_are_those_of_the_filter() -> None:
    rows = dict(re.findall(r"^\| `([a-z]+)`[^|]* \| (`[A-Z].*) \|$", PAGE, re.M))
    assert rows.keys() == SWITCHES.keys()
    for switch, names in SWITCHES.items():
        assert set(re.findall("[A-Z_-]{2,}", rows[switch])) >= {word for name in names for word in name.split("|")}
