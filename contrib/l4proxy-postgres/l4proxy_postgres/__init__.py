"""Watch PostgreSQL sessions, in a proxy or passing by: which statements, how long, how many rows, which errors."""

from __future__ import annotations

from l4proxy import Register, hookimpl

from l4proxy_postgres.filter import Postgres
from l4proxy_postgres.inspector import PostgresInspector

__all__ = ["Postgres", "PostgresInspector"]


@hookimpl
def register_filters(register: Register[type[Postgres]]) -> None:
    register(Postgres)


@hookimpl
def register_inspectors(register: Register[type[PostgresInspector]]) -> None:
    register(PostgresInspector)
