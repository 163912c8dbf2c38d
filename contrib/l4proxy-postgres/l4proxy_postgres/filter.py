"""The filter: the inspector, in a proxy's chain."""

from __future__ import annotations

from collections.abc import Callable

from l4proxy import Exchange
from l4proxy.plugins.observer import Observer

from l4proxy_postgres.inspector import PostgresConfig, PostgresInspector

__all__ = ["Postgres"]


class Postgres(Observer[PostgresConfig]):
    """Watch PostgreSQL sessions: statements, latency, errors, rows, COPY. Never changes or delays a byte."""

    name = "postgres"
    status = "alpha"
    inspector = PostgresInspector

    @classmethod
    def logs(cls, config: PostgresConfig) -> Callable[[Exchange], bool] | None:
        slow = config.slow_statement
        if not slow:
            return None
        return lambda exchange: exchange.seconds is not None and exchange.seconds >= slow
