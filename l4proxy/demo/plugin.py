"""The plugin of the demo: a filter that hides card numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from l4proxy import Filter, Register, Server, hookimpl

ALL_BUT_LAST_FOUR = re.compile(rb"\b(?:\d{4}[ -]?){3}(?=\d{4}\b)")
MAYBE_BEGINNING = re.compile(rb"\d[\d -]{0,18}\Z")


@dataclass(frozen=True, slots=True)
class MaskConfig:
    character: str = "*"
    """What stands in place of a digit."""

    def __post_init__(self) -> None:
        if len(self.character.encode()) != 1:
            raise ValueError("character: must be one character of ASCII")


class Mask(Filter[MaskConfig]):
    """Hide card numbers, but for the last four digits, on their way to the client."""

    name = "mask"

    @classmethod
    def provision(cls, config: MaskConfig, server: Server) -> bytes:
        return bytes.maketrans(b"0123456789", config.character.encode() * 10)

    def on_connect(self) -> None:
        self.held = b""

    def on_upstream_data(self, data: bytes) -> bytes | None:
        data = self.held + data
        beginning = MAYBE_BEGINNING.search(data)  # of a number whose rest comes with the next chunk
        self.held = beginning[0] if beginning else b""
        return self._mask(data[: len(data) - len(self.held)])

    def on_upstream_eof(self) -> None:
        self.conn.send_client(self._mask(self.held))

    def _mask(self, data: bytes) -> bytes:
        return ALL_BUT_LAST_FOUR.sub(lambda found: found[0].translate(self.shared), data)


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(Mask)
