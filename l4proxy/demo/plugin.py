"""The plugin of the demo: a filter that hides card numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from l4proxy import Filter, Register, Server, hookimpl

CARD = re.compile(rb"(?<!\d)((?:\d{4}[ -]?){3})(\d{4})(?=\D)|(?<!\d)\d[\d -]{0,18}\Z")
"""A card number, or at the end of a chunk what may be the beginning of one."""


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
        data, self.held = self.held + data, b""
        return CARD.sub(self._mask, data)

    def _mask(self, found: re.Match[bytes]) -> bytes:
        if found[1]:
            return found[1].translate(self.shared) + found[2]
        self.held = found[0]  # the rest comes with the next chunk
        return b""

    def on_upstream_eof(self) -> None:
        self.conn.send_client(CARD.sub(self._mask, self.held + b"\n")[:-1])


@hookimpl
def register_filters(register: Register[Any]) -> None:
    register(Mask)
