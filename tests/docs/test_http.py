"""The HTTP guide: each recipe is run, and curl gets what the page shows."""

from __future__ import annotations

import ast
import asyncio
import http.server
import re
import shlex
import threading
import tomllib
from collections.abc import Iterator

import pytest

from clusters import run
from docs.pages import Block, blocks
from l4proxy import serve
from services.needs import needs
from source_tree import ROOT

PAGE = "contrib/guides/http.md"
RECIPES = blocks(PAGE, "toml")
ANSWERS = {block.heading: block for block in blocks(PAGE, "console")}


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with what it got."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header("X-Line", self.requestline)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_there_are_ten_recipes_at_least() -> None:
    assert len(RECIPES) >= 10
    assert {block.heading for block in RECIPES} == ANSWERS.keys()


@needs("curl")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda block: block.heading)
def test_a_recipe_does_what_it_says(recipe: Block, upstream: int) -> None:
    text = recipe.text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:8000", f"127.0.0.1:{upstream}")

    async def follow() -> None:
        async with serve({**tomllib.loads(text), "drain_time": 0}) as server:
            ((address,),) = server.addresses.values()
            got = ""
            for line in ANSWERS[recipe.heading].text.splitlines():
                if line.startswith("$ "):
                    got = await output(line[2:].replace("127.0.0.1:8080", f"127.0.0.1:{address.port}"))
                else:
                    assert line in got

    run(follow)


async def output(command: str) -> str:
    process = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()


def test_the_filter_of_the_page_is_the_package() -> None:
    block = blocks(PAGE, "python")[0]
    package = (ROOT / "contrib/l4proxy-teapot/l4proxy_teapot.py").read_text()
    assert package.partition("\n\n")[2] == block.text


def details_in_code() -> set[str]:
    """Every text that a response of the proxy's own can have for its details, as far as it stands in the code."""
    found = {"via_upstream", "max_pending"}
    for path in [*(ROOT / "plugins/http").glob("*.py"), *(ROOT / "plugins").glob("http_*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found |= set(_details_of(node))
    return found - {"", "client_reset", "protocol_error", "decompression_"}


def _details_of(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    wanted = [keyword.value for keyword in call.keywords if keyword.arg == "details"]
    at = {"fail": 1, "_turn_down": 2, "StreamError": 0, "BadPath": 0}.get(name, len(call.args))
    for node in [*wanted, *call.args[at : at + 1]]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_reason_for_an_answer_is_listed() -> None:
    table = (ROOT / PAGE).read_text().partition("### Why the proxy answered")[2].partition("\n## ")[0]
    listed = [
        name for row in re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE) for name in re.findall("`(.*?)`", row)
    ]
    assert len(listed) == len(set(listed))
    made = {"decompression_max_ratio", "decompression_max_bytes", "decompression_corrupt", "response_cut_short"}
    made |= {"http1_answer", "http2_answer"}  # by the codecs
    assert {name for name in listed if "..." not in name} == details_in_code() | made
