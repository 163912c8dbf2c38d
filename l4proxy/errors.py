"""What can go wrong, as types. Every message is written for the person who reads it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable

__all__ = [
    "ConfigError",
    "ConfigProblem",
    "L4ProxyError",
    "PluginError",
    "UpstreamError",
    "cannot_read",
    "did_you_mean",
    "nearest_file",
]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"``, or the list of known words, or nothing when nothing is known."""
    words = sorted(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (known: {', '.join(words)})" if words else ""


def cannot_read(path: str | os.PathLike[str], error: OSError | UnicodeError) -> str:
    """Say why a file cannot be read, with the nearest name in its folder where there is no file of this one."""
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
    return f"cannot read {path}: {reason}{nearest_file(path) if isinstance(error, FileNotFoundError) else ''}"


def nearest_file(path: str | os.PathLike[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` of a file that is not there, or nothing."""
    folder, name = os.path.split(path)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        return f" (there is no folder {folder})"
    near = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {os.path.join(folder, near[0])!r}?)" if near and near[0] != name else ""


class L4ProxyError(Exception):
    """Base of every error that l4proxy raises on purpose."""


class PluginError(L4ProxyError):
    """A plugin could not be loaded or registered; the text names the plugin and what to do."""


class ConfigProblem:
    """One thing that is wrong in a configuration.

    ``path`` is where it stands (``listeners[0].filters[1].cluster``), ``line`` the line of the file (1-based, 0 when
    the configuration did not come from a file), ``cause`` what is wrong, with the nearest right spelling where there is
    one.
    """

    __slots__ = ("cause", "file", "line", "path")

    def __init__(self, path: str, cause: str, *, file: str = "", line: int = 0) -> None:
        self.path = path
        self.cause = cause
        self.file = file
        self.line = line

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.line else (f"{self.file}: " if self.file else "")
        return f"{where}{self.path}: {self.cause}" if self.path else f"{where}{self.cause}"


class ConfigError(L4ProxyError):
    """A configuration was refused before any socket was opened. ``problems`` lists everything found, in file order."""

    def __init__(self, problems: list[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def located(self, file: str, line: Callable[[str], int]) -> ConfigError:
        """The same, with the file and the ``line`` of a path, for problems that were found when it was loaded."""
        return ConfigError(
            sorted(
                (
                    one if one.file else ConfigProblem(one.path, one.cause, file=file, line=line(one.path))
                    for one in self.problems
                ),
                key=lambda one: one.line,
            )
        )


class UpstreamError(L4ProxyError):
    """No connection to an upstream could be had.

    ``flag`` is Envoy's response flag (``UF`` connect failure, ``UH`` no healthy upstream, ``UO`` overflow, ``NC`` no
    cluster), ``detail`` the named outcome in snake case (``connect_refused``, ``connect_timeout``, ``no_local_port``,
    ``tls_untrusted`` ...), ``errno`` the system's number or 0. ``endpoint`` is the name of the last one tried (empty:
    none was), ``attempts`` how many were.
    """

    def __init__(self, flag: str, detail: str, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.flag = flag
        self.detail = detail
        self.errno = errno
        self.endpoint = ""
        self.attempts = 0

    @property
    def flags(self) -> tuple[str, ...]:
        """All response flags. As in Envoy, a connect failure that is reported has used up its attempts (``URX``)."""
        return (self.flag, "URX") if self.flag == "UF" else (self.flag,)
