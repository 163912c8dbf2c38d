"""The filter: puts what it learns of sessions into statistics, the log and the access log."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from l4proxy import CloseReason, Filter
from l4proxy.config.types import Duration, Range

from l4proxy_postgres.session import Ask, Lost, Session
from l4proxy_postgres.statements import PostgresStats, Statements

if TYPE_CHECKING:
    from l4proxy import Server

__all__ = ["Postgres", "PostgresConfig"]

OFF = Duration(0.0)


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    slow_statement: Duration = OFF
    """A statement that takes this long is logged, without the values in it; 0: none is."""
    prepared_limit: Annotated[int, Range(1)] = 1000
    """Prepared statements and portals whose text is remembered per session; what is older counts as `(unknown)`."""


class Shared:
    """What all sessions of one use have in common."""

    def __init__(self, server: Server) -> None:
        from l4proxy_postgres import messages

        self.stats = server.stats.group(PostgresStats)
        self.statements = Statements(server.stats)
        self.error_fields = messages.error_fields
        self.startup_parameters = messages.startup_parameters


class Postgres(Filter[PostgresConfig]):
    """Watch PostgreSQL sessions: statements, latency, errors, rows, COPY. Never changes or delays a byte."""

    name = "postgres"
    observer = True
    status = "alpha"
    shared: Shared

    @classmethod
    def provision(cls, config: PostgresConfig, server: Server) -> Shared:
        return Shared(server)

    def __init__(self) -> None:
        self._watching = True
        self._answered = self._errors = 0

    def on_connect(self) -> None:
        self._session = Session(self, self.config.prepared_limit)

    def on_client_data(self, data: bytes) -> None:
        if self._watching:
            try:
                self._session.client_sent(data, time.perf_counter())
            except Lost as lost:
                self._lose(lost)

    def on_upstream_data(self, data: bytes) -> None:
        if self._watching:
            try:
                self._session.server_sent(data, time.perf_counter())
            except Lost as lost:
                self._lose(lost)

    def on_close(self, reason: CloseReason) -> None:
        state = self.conn.state
        state["postgres:statements"] = self._answered
        state["postgres:errors"] = self._errors

    def _lose(self, lost: Lost) -> None:
        self.shared.stats.lost_total += 1
        self.conn.log.warning("this is not PostgreSQL's protocol, or not as it is known here: %s", lost)
        self._stop()

    def _stop(self) -> None:
        self._watching = False
        self.conn.detach()

    # What the session tells

    def started(self, packet: bytes) -> None:
        self.shared.stats.sessions_total += 1
        try:
            parameters = self.shared.startup_parameters(packet)
        except ValueError:
            raise Lost("the startup packet has no parameters") from None
        user = parameters.get("user", "")
        self.conn.state["postgres:user"] = user
        self.conn.state["postgres:database"] = parameters.get("database", user)
        self.conn.state["postgres:application_name"] = parameters.get("application_name", "")

    def encrypted(self, by: str) -> None:
        self.shared.stats.encrypted_total.add(by)
        self.conn.state["postgres:encrypted"] = by
        self.conn.log.info("the session goes on encrypted by %s: nothing more is seen of it", by)
        self._stop()

    def cancelled(self) -> None:
        self.shared.stats.cancel_requests_total += 1
        self._stop()

    def completed(self, command: str, rows: int) -> None:
        stats = self.shared.stats
        stats.commands_total.add(command)
        stats.rows_total += rows

    def failed(self, body: bytes) -> str:
        try:
            sqlstate = self.shared.error_fields(body).get("C", "")
        except ValueError:
            sqlstate = ""
        self._errors += 1
        self.shared.stats.errors_total.add(sqlstate or "unknown")
        return sqlstate

    def answered(self, ask: Ask, seconds: float) -> None:
        self._answered += 1
        self.shared.stats.statement_seconds.record(seconds)
        statement = self.shared.statements.find(ask.statement)
        statement.count(seconds, ask.rows, failed=bool(ask.error))
        slow = self.config.slow_statement
        if slow and seconds >= slow:
            state = self.conn.state
            self.conn.log.warning(
                "slow statement: %.3f s, %d rows, user %s, database %s, application %s%s: %s",
                seconds,
                ask.rows,
                state.get("postgres:user"),
                state.get("postgres:database"),
                state.get("postgres:application_name") or "-",
                f", error {ask.error}" if ask.error else "",
                statement.text,
            )

    def copied(self, received: int, sent: int) -> None:
        self.shared.stats.copy_received_bytes_total += received
        self.shared.stats.copy_sent_bytes_total += sent
