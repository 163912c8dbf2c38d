"""Changes of header fields that a route asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from l4proxy.access_log.format import compile_text
from l4proxy.plugins.http.record import HttpRecord, UnfinishedRecord
from l4proxy.protocols.http_fields import check_field

if TYPE_CHECKING:
    from l4proxy.plugins.http.exchange import Exchange
    from l4proxy.plugins.http.field_config import FieldChanges
    from l4proxy.plugins.http.headers import Headers

__all__ = ["CompiledChanges", "compile_changes"]

Value = Callable[[HttpRecord], str]

UNTOUCHABLE = frozenset({"connection", "content-length", "transfer-encoding", "keep-alive", "upgrade", "te"})
"""What frames messages is not for a configuration to say."""


class CompiledChanges:
    """Made once per route; ``apply`` runs for each of its messages."""

    def __init__(self, config: FieldChanges) -> None:
        """Raises ValueError."""
        self._set = _values("set", config.set)
        self._add = _values("add", config.add)
        self._append = _values("append", config.append)
        self._remove = tuple(name.lower() for name in config.remove if not name.endswith("*"))
        self._remove_prefixes = tuple(name[:-1].lower() for name in config.remove if name.endswith("*"))

    def apply(self, headers: Headers, exchange: Exchange, now: float) -> None:
        record = UnfinishedRecord(exchange, now)
        for name in self._remove:
            headers.discard(name)
        if self._remove_prefixes:
            for name in [name for name in headers if name.startswith(self._remove_prefixes)]:
                headers.discard(name)
        for name, value in self._set:
            headers[name] = _clean(value(record))
        for name, value in self._add:
            headers.add(name, _clean(value(record)))
        for name, value in self._append:
            headers.append(name, _clean(value(record)))


def compile_changes(config: FieldChanges) -> CompiledChanges | None:
    """None where nothing is to be changed. Raises ValueError."""
    if not (config.set or config.add or config.append or config.remove):
        return None
    return CompiledChanges(config)


def _values(kind: str, configured: object) -> tuple[tuple[str, Value], ...]:
    assert hasattr(configured, "items")
    made = []
    for name, text in configured.items():
        if name.lower() in UNTOUCHABLE:
            raise ValueError(f"{kind}: {name} is about the connection, and not for routes to change")
        try:
            check_field(name, "")
            made.append((name, _value(text)))
        except ValueError as error:
            raise ValueError(f"{kind}: {error}") from None
    return tuple(made)


def _value(text: str) -> Value:
    if "%" not in text:
        check_field("x", text)
        return lambda _record: text
    if "%" not in text.replace("%%", ""):
        plain = text.replace("%%", "%")
        return lambda _record: plain
    return compile_text(text)


def _clean(value: str) -> str:
    """As much of what an operator says as a field can hold."""
    return "".join([c if "\x20" <= c <= "\x7e" or "\x80" <= c <= "\xff" else "?" for c in value]).strip()
