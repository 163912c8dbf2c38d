from __future__ import annotations

from hpack.table import HeaderTable

from l4proxy.protocols.http2.static_table import STATIC_TABLE


def test_it_is_the_table_of_the_rfc() -> None:
    assert [(name.decode(), value.decode()) for name, value in HeaderTable.STATIC_TABLE] == list(STATIC_TABLE)
