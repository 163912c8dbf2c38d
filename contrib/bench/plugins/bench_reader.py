"""A filter that reads every chunk of both directions and lets it go on: what the bench measures the chain with."""

from __future__ import annotations

from l4proxy import Filter, NoConfig, Register, hookimpl


class BenchReader(Filter[NoConfig]):
    """Counts the bytes of both directions."""

    name = "bench_reader"

    def on_connect(self) -> None:
        self.seen = 0

    def on_client_data(self, data: bytes) -> bytes:
        self.seen += len(data)
        return data

    def on_upstream_data(self, data: bytes) -> bytes:
        self.seen += len(data)
        return data


@hookimpl
def register_filters(register: Register[type[BenchReader]]) -> None:
    register(BenchReader)
