"""The contract's errors; codecs themselves are tested where they are."""

from __future__ import annotations

import pytest

from l4proxy.codec import LocalProtocolError, ProtocolError, RemoteProtocolError


@pytest.mark.parametrize("error", [LocalProtocolError, RemoteProtocolError])
def test_an_error_says_what_to_count_and_what_to_reply(error: type[ProtocolError]) -> None:
    plain = error("the length is negative")
    assert (str(plain), plain.code, plain.reply) == ("the length is negative", "protocol_error", b"")
    full = error("no", code="bad_length", reply=b"-ERR\r\n")
    assert (full.code, full.reply) == ("bad_length", b"-ERR\r\n")
    assert isinstance(full, ProtocolError)


def test_an_error_is_somebodys() -> None:
    with pytest.raises(TypeError, match="raise LocalProtocolError or RemoteProtocolError"):
        ProtocolError("whose?")
