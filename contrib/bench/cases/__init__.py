"""All cases, in the order in which they are run and reported."""

from __future__ import annotations

from case import Case

from cases import bulk, churn, filters, http, http2, idle, kafka, redis, small, start, tls

__all__ = ["CASES"]

CASES: tuple[Case, ...] = (
    *small.CASES,
    *bulk.CASES,
    *churn.CASES,
    *idle.CASES,
    *start.CASES,
    *tls.CASES,
    *filters.CASES,
    *http.CASES,
    *http2.CASES,
    *kafka.CASES,
    *redis.CASES,
)
