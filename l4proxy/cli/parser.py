"""The parser of a command's arguments: argparse, with errors and texts as the other parts of the command line have
them."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from l4proxy.errors import L4ProxyError, did_you_mean

__all__ = ["Parser", "make_parser", "parse_all"]


class Parser(argparse.ArgumentParser):
    """Raises what is wrong, to be shown like every other error."""

    def error(self, message: str) -> NoReturn:
        raise L4ProxyError(f"{message}\n  {self.prog} --help tells more")


def make_parser(name: str, description: str, parents: Sequence[argparse.ArgumentParser] = ()) -> Parser:
    """A parser of ``l4proxy NAME``, without arguments yet but those of ``parents``."""
    return Parser(
        prog=f"l4proxy {name}",
        description=_filled(description),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=list(parents),
    )


def parse_all(parser: Parser, words: Sequence[str]) -> argparse.Namespace:
    """Parse a whole command line. Raises L4ProxyError with the nearest right spelling of an unknown option."""
    args, unknown = parser.parse_known_args(words)
    for word in unknown:
        if word.startswith("-"):
            option = word.partition("=")[0]
            parser.error(f"there is no option {option}{did_you_mean(option, parser._option_string_actions)}")
        parser.error(f"{word!r} is one argument too many (the arguments of a kind stand together)")
    return args


def _filled(text: str) -> str:
    """Prose in lines as long as argparse makes its own; what has indented lines (examples) stays as it is."""
    width = shutil.get_terminal_size().columns - 2
    paragraphs = text.split("\n\n")
    return "\n\n".join(part if "\n " in part else textwrap.fill(part, width) for part in paragraphs)
