"""What lines of the access log for single exchanges have in common: those of observers, beside the connection's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from l4proxy.access_log.record import AccessRecord
from l4proxy.exchange import Exchange
from l4proxy.reason import CloseReason

if TYPE_CHECKING:
    from typing import Self

    from l4proxy.access_log.operator_table import Reader
    from l4proxy.filter import Conn

__all__ = ["ExchangeRecord", "fits", "reader_of"]

E = TypeVar("E", bound=Exchange)
_ANSWERED = CloseReason("upstream", "relay", "via_upstream")


@dataclass(slots=True)
class ExchangeRecord(AccessRecord):
    """One exchange on a connection that is watched."""

    spoken: ClassVar[str]
    """The protocol."""
    line_type: ClassVar[str]
    """The log type of its lines."""

    exchange: Exchange | None = field(default=None)

    @classmethod
    def of(cls, exchange: Exchange, conn: Conn) -> Self:
        return cls(
            listener=conn.listener_name,
            client=conn.client,
            reason=_ANSWERED,
            started=exchange.at,
            duration=exchange.seconds or 0.0,
            connection_id=conn.id,
            chain=conn.chain_name,
            protocol=cls.spoken,
            server_name=conn.server_name,
            tls=conn.tls,
            bytes_received=exchange.request_bytes,
            bytes_sent=exchange.response_bytes,
            endpoint=str(conn.upstream or ""),
            upstream=conn.upstream,
            upstream_bytes_received=exchange.response_bytes,
            upstream_bytes_sent=exchange.request_bytes,
            state=conn.state,
            log_type=cls.line_type,
            exchange=exchange,
        )

    @property
    def failed(self) -> bool:
        return self.exchange is not None and bool(self.exchange.error)


def reader_of(kind: type[E], read: Callable[[E], Any]) -> Reader:
    """The reader of an operator about exchanges of one kind: a record may be that of a connection, or of another
    protocol's exchange, which have none of this."""

    def of_record(record: AccessRecord) -> Any:
        exchange = getattr(record, "exchange", None)
        return read(exchange) if isinstance(exchange, kind) else None

    return of_record


def fits(texts: Iterable[str], patterns: Sequence[str]) -> bool:
    """Whether one of these texts fits one of these patterns."""
    return any(fnmatchcase(text, pattern) for text in texts for pattern in patterns)
