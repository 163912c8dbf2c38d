"""Operators about exchanges of one protocol, on records of others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from l4proxy.access_log.record import AccessRecord
from l4proxy.exchange import Exchange
from l4proxy.plugins.exchange_record import fits, reader_of


class Line(Exchange):
    """An exchange of a protocol that the test knows."""


@pytest.mark.parametrize("record", [SimpleNamespace(), SimpleNamespace(exchange=None), SimpleNamespace(exchange="GET")])
def test_records_of_others_have_none_of_it(record: Any) -> None:
    assert reader_of(Line, lambda line: line.kind)(cast(AccessRecord, record)) is None


def test_patterns() -> None:
    assert fits(["a", "orders-1"], ["orders-*"])
    assert not fits(["a"], ["b", "A"])
    assert not fits([], ["*"])
