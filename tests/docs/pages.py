"""The pages of the repository, for the tests that hold what they say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from source_tree import ROOT

__all__ = ["AUTHORS", "OPERATORS", "PAGES", "Block", "blocks", "commands", "headings"]

AUTHORS = "contrib/guides/plugin-authors.md"
OPERATORS = "contrib/guides/operators.md"
PAGES = [
    str(path.relative_to(ROOT))
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "contrib").glob("*.md"), *(ROOT / "contrib/guides").glob("*.md"),
                        *(ROOT / "contrib/deploy").glob("*.md")])
]  # fmt: skip

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: what is between the fences, and where it stands."""

    page: str
    heading: str
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{Path(self.page).name}:{self.line}"


def blocks(page: str, language: str = "") -> list[Block]:
    """The blocks of a page in a language, or in any, in the order of the page."""
    text = (ROOT / page).read_text()
    found = []
    heading, headed = "", 0
    for fence in _FENCE.finditer(text):
        for match in _HEADING.finditer(_without_blocks(text[headed : fence.start()])):
            heading = match[1]
        headed = fence.end()
        if language in ("", fence[1]):
            found.append(Block(page, heading, fence[1], fence[2], text.count("\n", 0, fence.start()) + 1))
    return found


def headings(page: str) -> list[str]:
    return _HEADING.findall(_without_blocks((ROOT / page).read_text()))


def commands(page: str) -> list[tuple[Block, str]]:
    """What a reader is told to type: the lines of console blocks that begin with ``$``, joined where they go on."""
    found = []
    for block in blocks(page, "console"):
        text = block.text.replace("\\\n", "")
        found += [(block, line[2:].strip()) for line in text.splitlines() if line.startswith("$ ")]
    return found


def _without_blocks(text: str) -> str:
    return _FENCE.sub("", text)
