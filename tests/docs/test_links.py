"""Links lead somewhere, and the pictures are what they say."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.pages import PAGES, headings
from source_tree import ROOT

PICTURES = sorted((ROOT / "contrib" / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def links(page: str) -> Iterator[tuple[str, str]]:
    """The links of a page that stay in the repository: a path from its top, and an anchor, empty for none."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            file = (ROOT / page).parent / path if path else ROOT / page
            yield str(file.resolve().relative_to(ROOT)), anchor


def anchor_of(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for path, anchor in links(page):
        assert (ROOT / path).exists(), path
        assert not anchor or anchor in map(anchor_of, headings(path)), f"{path}#{anchor}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting += [path for path, _ in links(page) if path in PAGES and path not in reached]
    assert reached == set(PAGES)


def test_everything_in_contrib_is_listed() -> None:
    text = (ROOT / "contrib" / "README.md").read_text()
    there = {
        path.name for path in (ROOT / "contrib").iterdir() if path.is_dir() and not path.name.startswith((".", "_"))
    }
    assert not [name for name in there if f"`{name}/" not in text]


def test_every_picture_is_shown() -> None:
    shown = {path for page in PAGES for path, _ in links(page)}
    assert {str(path.relative_to(ROOT)) for path in PICTURES} <= shown


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_says_what_it_shows_and_loads_nothing(picture: Path) -> None:
    root = ElementTree.fromstring(picture.read_text())
    named = {element.get("id"): (element.text or "").strip() for element in root.iter() if element.get("id")}
    assert all(named[name] for name in root.attrib["aria-labelledby"].split())
    assert not [element.tag for element in root.iter() if element.tag in (f"{SVG}image", f"{SVG}script", f"{SVG}use")]
