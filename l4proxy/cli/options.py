"""Errors in a configuration that was made of a command line, said in the words of that command line."""

from __future__ import annotations

import re
from collections.abc import Mapping

from l4proxy.errors import ConfigError, ConfigProblem

__all__ = ["in_words_of_options"]


def in_words_of_options(error: ConfigError, options: Mapping[str, str]) -> ConfigError:
    """The same error with options in place of paths; ``options`` says which option is at which path.

    ``listeners[0].filters[1].max_bytes`` becomes ``--use limit:max_bytes=x: max_bytes``. Paths that no option is
    responsible for stay.
    """
    return ConfigError([_translated(problem, options) for problem in error.problems])


def _translated(problem: ConfigProblem, options: Mapping[str, str]) -> ConfigProblem:
    cause = problem.cause
    for path in sorted(options, key=len, reverse=True):
        cause = re.sub(re.escape(path) + r"(?![\w\[.])", lambda _: options[path], cause)  # noqa: B023
    at = max((path for path in options if _is_inside(problem.path, path)), key=len, default="")
    if not at:
        return ConfigProblem(problem.path, cause, file=problem.file, line=problem.line)
    inside = problem.path[len(at) :].lstrip(".")
    return ConfigProblem(options[at], f"{inside}: {cause}" if inside else cause)


def _is_inside(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))
