from __future__ import annotations

import pytest

from l4proxy import ConfigError
from l4proxy.demo.plugin import Mask
from l4proxy.testing import harness

NUMBER = b"card 4111 1111 1111 1111, thanks\n"
MASKED = b"card **** **** **** 1111, thanks\n"


def test_the_filter_masks_wherever_chunks_end() -> None:
    for cut in range(1, len(NUMBER)):
        h = harness(Mask)
        h.upstream.send(NUMBER[:cut], NUMBER[cut:])
        assert h.client.received == MASKED
    h = harness(Mask)
    h.upstream.send(*(NUMBER[at : at + 1] for at in range(len(NUMBER))))
    assert h.client.received == MASKED


def test_the_filter_keeps_what_is_no_card_number_and_lets_go_at_the_end() -> None:
    h = harness(Mask, character="#")
    h.upstream.send(b"order 4111, 12345678901234567890, 4111111111111111 5500-0000-0000-0004 99")
    assert h.client.received == b"order 4111, 12345678901234567890, ############1111 ####-####-####-0004 "
    h.upstream.eof()
    assert h.client.received.endswith(b"-0004 99")
    assert h.client.got_eof


def test_a_number_at_the_very_end() -> None:
    h = harness(Mask)
    h.upstream.send(NUMBER[:-9])
    assert h.client.received == b"card "
    h.upstream.eof()
    assert h.client.received == MASKED[:-9]


def test_the_filters_option() -> None:
    with pytest.raises(ConfigError, match="character: must be one character of ASCII"):
        harness(Mask, character="")
