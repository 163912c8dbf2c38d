"""The inspector: puts what it learns of sessions into statistics, exchanges and the access log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy import Column, ColumnKind, Conversation, Exchange, Inspector, Link, Selector, StopWatching, Table
from l4proxy.config.types import Duration, Range

from l4proxy_postgres.session import Ask, Lost, Session
from l4proxy_postgres.statements import PostgresStats, Statements

if TYPE_CHECKING:
    from l4proxy.stats_registry import StatsRegistry

__all__ = ["PostgresConfig", "PostgresExchange", "PostgresInspector"]

OFF = Duration(0.0)


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    slow_statement: Duration = OFF
    """A statement that takes this long is logged, without the values in it; 0: none is."""
    prepared_limit: Annotated[int, Range(1)] = 1000
    """Prepared statements and portals whose text is remembered per session; what is older counts as `(unknown)`."""


class PostgresExchange(Exchange):
    """A statement and what became of it. ``kind`` is its first word, ``error`` an SQLSTATE."""

    __slots__ = ("rows", "statement")
    statement: str
    rows: int

    def of_session(self, name: str) -> str:
        """``user``, ``database`` or ``application_name``."""
        return str(self.link.state.get(f"postgres:{name}", ""))

    def fields(self) -> Mapping[str, Any]:
        names = ("user", "database", "application_name")
        return {"statement": self.statement, "rows": self.rows, **{name: self.of_session(name) for name in names}}

    def text(self) -> str:
        user, database = self.of_session("user"), self.of_session("database")
        return f"{self.rows} rows {f'{user}@{database} ' if user else ''}{self.statement}"


class PostgresConversation(Conversation):
    """One session: what it tells is counted, and told to who wants it."""

    def __init__(self, inspector: PostgresInspector, link: Link) -> None:
        self._inspector = inspector
        self._link = link
        self._answered = self._errors = 0
        self._session = Session(self, inspector.config.prepared_limit, midway=link.midway)

    def client_data(self, data: bytes, at: float) -> None:
        self._session.client_sent(data, at)

    def server_data(self, data: bytes, at: float) -> None:
        self._session.server_sent(data, at)

    def close(self, at: float) -> None:
        state = self._link.state
        state["postgres:statements"] = self._answered
        state["postgres:errors"] = self._errors

    # What the session tells

    def started(self, packet: bytes) -> None:
        self._inspector.own_stats.sessions_total += 1
        try:
            parameters = self._inspector.startup_parameters(packet)
        except ValueError:
            raise Lost("the startup packet has no parameters") from None
        user = parameters.get("user", "")
        state = self._link.state
        state["postgres:user"] = user
        state["postgres:database"] = parameters.get("database", user)
        state["postgres:application_name"] = parameters.get("application_name", "")

    def encrypted(self, by: str) -> None:
        self._link.state["postgres:encrypted"] = by
        raise StopWatching(by, f"the session goes on encrypted by {by}: nothing more is seen of it")

    def cancelled(self) -> None:
        self._inspector.own_stats.cancel_requests_total += 1
        raise StopWatching("cancel", "this is a request to cancel what another session does")

    def completed(self, command: str, rows: int) -> None:
        stats = self._inspector.own_stats
        stats.commands_total.add(command)
        stats.rows_total += rows

    def failed(self, body: bytes) -> str:
        try:
            sqlstate = self._inspector.error_fields(body).get("C", "")
        except ValueError:
            sqlstate = ""
        self._errors += 1
        self._inspector.own_stats.errors_total.add(sqlstate or "unknown")
        return sqlstate

    def answered(self, ask: Ask, seconds: float) -> None:
        self._answered += 1
        inspector = self._inspector
        inspector.own_stats.statement_seconds.record(seconds)
        statement = inspector.statements.find(ask.statement)
        statement.count(seconds, ask.rows, failed=bool(ask.error))
        if inspector.on_exchange is not None:
            exchange = PostgresExchange(self._link, ask.asked, statement.command, seconds, error=ask.error)
            exchange.statement, exchange.rows = statement.text, ask.rows
            inspector.on_exchange(exchange)

    def copied(self, received: int, sent: int) -> None:
        self._inspector.own_stats.copy_received_bytes_total += received
        self._inspector.own_stats.copy_sent_bytes_total += sent


class PostgresInspector(Inspector[PostgresConfig]):
    """Watch PostgreSQL sessions: statements, latency, errors, rows, COPY."""

    name = "postgres"
    status = "alpha"
    ports = (5432,)
    kind_word = "command"
    selectors = (
        Selector("statement", "TEXT", "statements like this", lambda exchange: (exchange.statement,)),
        Selector("user", "USER", "sessions of this user", lambda exchange: (exchange.of_session("user"),)),
        Selector("database", "DB", "sessions in this database", lambda exchange: (exchange.of_session("database"),)),
    )

    def __init__(self, config: PostgresConfig, stats: StatsRegistry) -> None:
        from l4proxy_postgres import messages

        super().__init__(config, stats)
        self.own_stats = stats.group(PostgresStats)
        self.statements = Statements(stats)
        self.error_fields = messages.error_fields
        self.startup_parameters = messages.startup_parameters

    def conversation(self, link: Link) -> PostgresConversation:
        return PostgresConversation(self, link)

    def tables(self) -> Sequence[Table]:
        number, rate = ColumnKind.NUMBER, ColumnKind.RATE
        statements = (
            Column("statement"),
            Column("calls/s", rate),
            Column("calls", number),
            Column("mean", ColumnKind.SECONDS),
            Column("total", ColumnKind.SECONDS),
            Column("rows", number),
            Column("errors", number),
        )
        errors = self.own_stats.errors_total
        commands = self.own_stats.commands_total
        return [
            Table("statements", statements, self.statements.rows, sort="total"),
            Table("commands", (Column("command"), Column("succeeded", number), Column("succeeded/s", rate)),
                  lambda: [(name, count, count) for name, count in commands.values.items()], sort="succeeded"),
            Table("errors", (Column("sqlstate"), Column("errors", number)), lambda: list(errors.values.items()),
                  sort="errors"),
        ]  # fmt: skip
