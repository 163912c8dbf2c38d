"""Watch PostgreSQL sessions on their way through l4proxy: which statements, how long, how many rows, which errors."""

from __future__ import annotations

from l4proxy import Register, hookimpl

from l4proxy_postgres.filter import Postgres

__all__ = ["Postgres"]


@hookimpl
def register_filters(register: Register[type[Postgres]]) -> None:
    register(Postgres)
