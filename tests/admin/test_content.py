from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from l4proxy.admin.content import Column, Content, human_bytes, human_seconds, outline, records, render, table
from l4proxy.admin.http import HttpError, Request, Response


def test_a_table_is_aligned_and_amounts_stand_to_the_right() -> None:
    rows: list[list[str | int]] = [
        ["web", 7, "1.5 KiB", "3m05s", "1 (refused 1)"],
        ["database", 12345, "12 B", "12s", "0"],
        ["", 0, "-", "", ""],
    ]
    assert "".join(table(["name", "total", "sent", "age", "failed"], rows)) == (
        "name      total     sent    age  failed\n"
        "web           7  1.5 KiB  3m05s  1 (refused 1)\n"
        "database  12345     12 B    12s  0\n"
        "-             0        -      -  -\n"
    )


def test_an_empty_table_is_its_head() -> None:
    assert "".join(table(["a", "b"], [])) == "a  b\n"


def test_what_strangers_chose_cannot_drive_a_terminal() -> None:
    text = "".join(table(["name"], [["\x1b[2Jx\r\n\u202egpj.exe"]]))
    assert text == "name\n\\x1b[2Jx\\r\\n\\u202egpj.exe\n"
    assert "".join(outline({"na\x1bme": "a\nb"})) == "na\\x1bme: a\\nb\n"


def test_rows_that_are_data() -> None:
    rows = [{"id": 1, "names": ["a", "b"], "tls": True, "size": 2048}, {"id": 2, "names": [], "tls": False, "size": 0}]
    columns: dict[str, Column] = {
        "id": "id",
        "names": "names",
        "TLS": "tls",
        "size": lambda row: human_bytes(row["size"]),
    }
    assert "".join(records(columns, rows)) == "id  names  TLS   size\n 1  a, b   yes  2 KiB\n 2  -      no     0 B\n"


def test_an_outline() -> None:
    data = {"name": "web", "tls": None, "ports": [80, 443], "more": {"a": 1, "longer": {"b": True}}}
    assert "".join(outline(data)) == "name:  web\ntls:   -\nports: 80, 443\nmore:\n  a: 1\n  longer:\n    b: yes\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (10**6, "977 KiB"), (1047552, "0.999 MiB"),
     (5 * 10**12, "4.55 TiB"), (10**16, "9095 TiB")],
)  # fmt: skip
def test_sizes(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "0.25s"), (9.5, "9.5s"), (59, "59s"), (60, "1m00s"), (3599, "59m59s"), (3660, "1h01m"),
     (86400, "1d00h"), (10**7, "115d17h")],
)  # fmt: skip
def test_times(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def ask(content: Content, accept: str = "", **parameters: str) -> Response:
    headers = {"accept": accept} if accept else {}
    return asyncio.run(render(content, Request("GET", "/", parameters, headers)))


def text_of(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['a']}\n"


def test_the_form_that_a_request_wants() -> None:
    content = Content({"a": "<é>"}, text_of)
    assert ask(content).body.decode() == "<é>\n"
    assert ask(content, "text/html,application/xhtml+xml,*/*").content_type.startswith("text/plain")
    assert ask(content, "application/json", format="text").body.decode() == "<é>\n"
    for response in (ask(content, format="json"), ask(content, "application/json, */*")):
        assert json.loads(response.body) == {"a": "<é>"}
        assert response.content_type == "application/json"
    with pytest.raises(HttpError, match="there is no format 'xml'"):
        ask(content, format="xml")


def test_a_long_page_lets_others_have_their_turn() -> None:
    async def main() -> int:
        turns = 0
        done = False

        async def other() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        rows: Iterable[list[str | int]] = ([at, f"name {at}"] for at in range(20_000))
        await render(Content(None, lambda _: table(["id", "name"], rows)), Request("GET", "/", {}, {}))
        done = True
        await task
        return turns

    assert asyncio.run(main()) > 3
