"""An inspector that does nothing with the bytes: what the bench measures captures and their streams with."""

from __future__ import annotations

from l4proxy import Conversation, Inspector, Link, NoConfig, Register, hookimpl


class Bytes(Conversation):
    """Takes them, and that is all."""

    def client_data(self, data: bytes, at: float) -> None: ...

    def server_data(self, data: bytes, at: float) -> None: ...


class BenchBytes(Inspector[NoConfig]):
    """Any protocol; nothing is understood."""

    name = "bench_bytes"

    def conversation(self, link: Link) -> Bytes:
        return Bytes()


@hookimpl
def register_inspectors(register: Register[type[BenchBytes]]) -> None:
    register(BenchBytes)
