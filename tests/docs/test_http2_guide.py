"""The page on HTTP/2 and gRPC says what the code does. Its metrics, operators, filters are held by the operators'."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from pathlib import Path

import pytest

from docs.pages import Block, blocks
from l4proxy.cli.main import main
from l4proxy.plugins.http.http2_config import Http2Options
from l4proxy.protocols.http2.limits import Allowances
from services.certs import Authority
from source_tree import ROOT

GUIDE = "contrib/guides/http2.md"
PAGE = (ROOT / GUIDE).read_text()


def rows(first_cell: str) -> dict[str, str]:
    """The first two columns of the table whose head begins so."""
    text = PAGE[PAGE.index(f"| {first_cell} |") :].partition("\n\n")[0]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in text.splitlines()[2:]]
    return {row[0].strip("`"): row[1] for row in cells}


@pytest.mark.parametrize("block", blocks(GUIDE, "toml"), ids=str)
def test_a_configuration_is_right(block: Block, authority: Authority, tmp_path: Path) -> None:
    issued = authority.issue(f"shop-{os.getpid()}", ["shop.example"])
    shutil.copy(issued.cert, tmp_path / "shop.pem")
    shutil.copy(issued.key, tmp_path / "shop.key")
    file = tmp_path / "l4proxy.toml"
    file.write_text(block.text)
    assert main(["check", str(file)]) == 0


def shown(name: str, value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}s"
    if name.endswith("_window") and isinstance(value, int):
        return f"{value >> 20}MiB" if not value % (1 << 20) else f"{value >> 10}KiB"
    return str(value)


def test_every_limit_is_listed_with_its_default() -> None:
    fields = dataclasses.fields(Http2Options)
    assert rows("option") == {one.name: shown(one.name, one.default) for one in fields if one.name != "allowances"}


def test_every_allowance_is_listed_with_its_default() -> None:
    assert rows("allowance") == {one.name: str(one.default) for one in dataclasses.fields(Allowances)}


def test_each_class_of_attack_is_named() -> None:
    assert len(set(re.findall(r"CVE-\d+-\d+", PAGE))) >= 9
