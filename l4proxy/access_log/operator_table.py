"""Operators by name: what a format may print, and how protocols add to it.

::

    OPERATORS.add("REDIS_COMMAND", lambda record: record.command, "The command's name.")
    OPERATORS.add_with_argument("REQ", lambda name: lambda record: record.headers.get(name), "A header of the request.")

A reader gets a record and returns what the operator prints: text, a number, or None where there is nothing to print. It
is called once per record, so whatever can be found out beforehand is found out when a format is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from l4proxy.errors import did_you_mean

__all__ = ["Attribute", "Operator", "OperatorTable", "Reader"]

Reader = Callable[[Any], Any]
"""From a record to text, a number, a mapping, or None."""


class Attribute:
    """The reader of an attribute, by its path (``cluster``, ``reason.detail``), as it is or as ``show`` makes it. With
    ``text``, empty text is nothing; so is what a record has not. Of several paths the first one that leads to something
    is read. A line of the log reads it without a call, but that of ``show``."""

    __slots__ = ("paths", "show", "text")

    def __init__(self, *paths: str, text: bool = False, show: Callable[[Any], Any] | None = None) -> None:
        for path in paths:
            if not all(part.isidentifier() for part in path.split(".")):
                raise ValueError(f"{path!r} is not the path of an attribute")
        self.paths = paths
        self.text = text
        self.show = show

    def __call__(self, record: Any) -> Any:
        value = None
        for path in self.paths:
            value = record
            for name in path.split("."):
                value = getattr(value, name, None)
            if value:
                break
        if self.show is not None and value is not None:
            value = self.show(value)
        return (value or None) if self.text else value


@dataclass(frozen=True, slots=True)
class Operator:
    """``make`` gets what stands in the parentheses (empty without them), when a format is compiled, and returns the
    reader. It raises ValueError to refuse an argument."""

    name: str
    make: Callable[[str], Reader]
    meaning: str
    argument: Literal["none", "optional", "required"]


class OperatorTable:
    """Operators by name."""

    def __init__(self) -> None:
        self._operators: dict[str, Operator] = {}

    def add(self, name: str, read: Reader, meaning: str) -> None:
        """Add an operator without an argument. Raises ValueError when there is one of that name."""
        self._add(Operator(name, lambda _argument: read, meaning, "none"))

    def add_with_argument(
        self, name: str, make: Callable[[str], Reader], meaning: str, *, optional: bool = False
    ) -> None:
        """Add an operator with an argument, ``%NAME(argument)%``."""
        self._add(Operator(name, make, meaning, "optional" if optional else "required"))

    def _add(self, operator: Operator) -> None:
        if operator.name in self._operators:
            raise ValueError(f"there is an operator %{operator.name}% already")
        self._operators[operator.name] = operator

    def __iter__(self) -> Iterator[Operator]:
        return iter(self._operators.values())

    def reader(self, name: str, argument: str | None) -> Reader:
        """Return the reader of ``%name(argument)%``; None means that there are no parentheses. Raises ValueError."""
        operator = self._operators.get(name)
        if operator is None:
            raise ValueError(f"unknown operator %{name}%{self._nearest(name)}")
        if operator.argument == "required" and not argument:
            raise ValueError(f"%{name}% needs an argument: %{name}(...)%")
        if operator.argument == "none" and argument is not None:
            raise ValueError(f"%{name}% takes no argument")
        return operator.make(argument or "")

    def _nearest(self, name: str) -> str:
        nearest = did_you_mean(name.upper(), self._operators)
        return nearest if "did you mean" in nearest else ""
