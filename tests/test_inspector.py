from __future__ import annotations

import pytest

from l4proxy.contract_check import contract_problem
from l4proxy.filter import Filter, NoConfig, Peer, Side
from l4proxy.inspector import Conversation, Inspector, Link, StopWatching
from l4proxy.kind import Kind
from l4proxy.stats_registry import StatsRegistry

LINK = Link(7, Peer("192.0.2.1", 40000))


class Plain(Inspector[NoConfig]):
    """Nothing is known."""

    name = "plain"


def test_what_need_not_be_written() -> None:
    inspector = Plain(NoConfig(), StatsRegistry())
    inspector.notice(LINK, 1.0, "tls", "nobody hears it")
    assert inspector.on_exchange is None
    assert inspector.tables() == ()
    assert inspector.framer(Side.CLIENT) is None
    conversation = Conversation()
    conversation.client_eof(1.0)
    conversation.server_eof(1.0)
    conversation.close(1.0)
    assert conversation.lost(Side.CLIENT, 5, 1.0) is False


def test_what_must_be_written() -> None:
    with pytest.raises(NotImplementedError):
        Plain(NoConfig(), StatsRegistry()).conversation(LINK)
    with pytest.raises(NotImplementedError):
        Conversation().client_data(b"a", 1.0)
    with pytest.raises(NotImplementedError):
        Conversation().server_data(b"a", 1.0)


def test_a_link_has_a_state_of_its_own_unless_it_is_given_one() -> None:
    shared = {"a:b": 1}
    assert Link(1, LINK.client, state=shared).state is shared
    assert Link(1, LINK.client).state is not Link(2, LINK.client).state


def test_a_reason_speaks_for_itself_where_there_is_no_message() -> None:
    assert str(StopWatching("tls")) == "tls"
    assert str(StopWatching("tls", "it is encrypted")) == "it is encrypted"


def test_the_contract_is_checked_when_one_is_registered() -> None:
    class Misspelt(Plain):
        def table(self) -> None: ...

    class Waits(Plain):
        async def conversation(self, link: Link) -> Conversation:  # type: ignore[override]
            return Conversation()

    assert contract_problem(Kind.INSPECTOR, Plain) == ""
    assert "table is not a callback (did you mean 'tables'?)" in contract_problem(Kind.INSPECTOR, Misspelt)
    assert "conversation must not be async" in contract_problem(Kind.INSPECTOR, Waits)
    assert "is not a subclass of l4proxy.Inspector" in contract_problem(Kind.INSPECTOR, Filter)
