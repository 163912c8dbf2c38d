"""The peek stage: which chain is chosen, from which bytes, and what is left in the socket for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.chain import FilterChain
from l4proxy.codec import RemoteProtocolError
from l4proxy.matcher import Matcher, PeekInfo, Preamble, PreambleResult
from l4proxy.peek import Peek, Undecided, choose_chain
from l4proxy.poller import Poller
from l4proxy.testing.memory import ManualLoop
from l4proxy.timers import Timers
from streams import reset, tcp_pair, turn, turn_until


class Verdict(Matcher[bool | None]):
    """Always says what it is told to."""

    name = "verdict"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        return self.config


class Begins(Matcher[bytes]):
    """Bytes that begin with its option."""

    name = "begins"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        if peek.startswith(self.config):
            return True
        return None if self.config.startswith(peek) else False


class Fails(Matcher[str]):
    """Raises once there is anything to see."""

    name = "fails"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        if peek:
            raise LookupError(self.config)
        return None


class Header(Preamble[bytes]):
    """Four bytes that begin with its option; ``!`` is a broken one, ``>`` one that takes more than there is."""

    name = "header"

    def read(self, peek: bytes, info: PeekInfo) -> PreambleResult | None:
        if peek[:1] == b"!":
            raise RemoteProtocolError("broken", code="bad_header")
        if peek[:1] == b">":
            return PreambleResult(len(peek) + 1)
        if peek and not peek.startswith(self.config):
            return PreambleResult(0)
        if len(peek) < 4:
            return None
        return PreambleResult(4, client=("203.0.113.9", 1), destination=("192.0.2.1", peek[3]), tlvs={peek[0]: b"x"})


class Listener:
    """What the peek stage needs of one; time is moved by hand."""

    def __init__(self, *chains: FilterChain) -> None:
        self.name = "web"
        self.chains = list(chains)
        self.preambles: tuple[Preamble[Any], ...] = ()
        self.config = SimpleNamespace(peek_limit=64, peek_timeout=5.0, peek_timeout_action="close")
        self.loop = ManualLoop()
        self.poller = Poller()
        self.timers = Timers(self.loop)
        self.ended: list[str] = []

    def chosen(self, sock: socket.socket, info: PeekInfo, chain: FilterChain) -> None:
        self.ended.append(chain.name)

    def not_chosen(self, sock: socket.socket, info: PeekInfo, why: str, message: str) -> None:
        self.ended.append(why)

    def close(self) -> None:
        self.timers.close()
        self.loop.close()
        self.poller.close()


class Stage:
    """One connection in the peek stage, and its client."""

    def __init__(self, listener: Listener, sock: socket.socket, client: socket.socket) -> None:
        self.listener = listener
        self.sock = sock
        self.client = client
        self.info = PeekInfo(("198.51.100.1", 40000), ("127.0.0.1", 80))
        self.peek = Peek(listener, sock, self.info)  # type: ignore[arg-type]

    def start(self, *chains: FilterChain, preambles: tuple[Preamble[Any], ...] = ()) -> list[str]:
        self.listener.chains += chains
        self.peek._preambles = preambles
        self.peek.start()
        return self.listener.ended

    def send(self, data: bytes) -> list[str]:
        self.client.send(data)
        turn(self.listener.poller, 0.1)
        return self.listener.ended

    def finish(self) -> list[str]:
        turn_until(self.listener.poller, lambda: self.listener.ended)
        return self.listener.ended

    def wait(self, seconds: float) -> list[str]:
        self.listener.loop.now += seconds
        self.listener.loop.run_ready()
        return self.listener.ended

    @property
    def left(self) -> bytes:
        """What whoever reads the socket next gets."""
        return self.sock.recv(100)


@pytest.fixture
def stage() -> Iterator[Stage]:
    listener = Listener()
    with tcp_pair() as (sock, client):
        yield Stage(listener, sock, client)
        assert len(listener.poller) == 0, "nothing is left in the poller"
        assert len(listener.ended) <= 1, "it ends once"
        listener.timers.close()
        assert not any(not handle.cancelled() for handle in listener.loop._scheduled)  # type: ignore[attr-defined]
        listener.close()


def chain(name: str, *matchers: Matcher[Any]) -> FilterChain:
    return FilterChain(name, (), matchers)


A, B = chain("a", Begins(b"aaaa")), chain("b", Begins(b"ab"))
REST = chain("rest")

# Choosing


@pytest.mark.parametrize("final", [False, True])
@given(verdicts=st.lists(st.lists(st.sampled_from([True, False, None]), max_size=3), max_size=4))
def test_the_first_chain_whose_matchers_all_say_yes(final: bool, verdicts: list[list[bool | None]]) -> None:
    chains = [chain(str(at), *map(Verdict, one)) for at, one in enumerate(verdicts)]
    info = PeekInfo(("", 0), ("", 0))
    chosen = choose_chain(chains, b"", info, final=final)
    for one, each in zip(chains, verdicts, strict=True):
        undecided = not all(each) and next(v for v in each if not v) is None
        if all(each) or (undecided and not final):
            assert chosen is (one if all(each) else Undecided.UNDECIDED)
            return
    assert chosen is None


def test_a_chain_that_waits_for_nothing_is_chosen_at_once(stage: Stage) -> None:
    assert stage.start(chain("smtp", Verdict(True)), REST) == ["smtp"]


def test_no_chain_at_all(stage: Stage) -> None:
    assert stage.start(chain("no", Verdict(False))) == ["no_filter_chain"]


def test_bytes_that_come_one_by_one_are_all_left(stage: Stage) -> None:
    stage.start(A, B)
    for byte in b"aaa":
        assert stage.send(bytes([byte])) == []
    assert stage.send(b"a") == ["a"]
    assert stage.left == b"aaaa"


def test_what_was_there_before_is_seen(stage: Stage) -> None:
    stage.client.send(b"abc")
    stage.start(A, B)
    assert stage.finish() == ["b"]
    assert stage.left == b"abc"


def test_bytes_that_no_chain_wants(stage: Stage) -> None:
    stage.start(A, B)
    assert stage.send(b"x") == ["no_filter_chain"]


def test_at_the_limit_undecided_is_no(stage: Stage) -> None:
    stage.start(chain("long", Begins(b"x" * 100)), REST)
    assert stage.send(b"x" * 63) == []
    assert stage.send(b"xx") == ["rest"]
    assert stage.left == b"x" * 65


def test_when_the_client_has_ended_undecided_is_no(stage: Stage) -> None:
    stage.start(A, REST)
    stage.client.send(b"aa")
    stage.client.shutdown(socket.SHUT_WR)
    assert stage.finish() == ["rest"]
    assert stage.left == b"aa"


# Ends


def test_a_client_that_says_nothing_and_leaves(stage: Stage) -> None:
    stage.start(A)
    stage.client.close()
    assert stage.finish() == ["eof"]


def test_a_client_that_resets(stage: Stage) -> None:
    stage.start(A)
    reset(stage.client)
    assert stage.finish() == ["reset"]


def test_a_client_that_takes_too_long(stage: Stage) -> None:
    stage.start(A, REST)
    stage.send(b"a")
    assert stage.wait(4.9) == []
    assert stage.wait(0.3) == ["peek_timeout"]


@pytest.mark.parametrize("sent", [b"", b"aa"])
def test_after_its_time_it_can_go_on_with_what_is_there(sent: bytes, stage: Stage) -> None:
    stage.listener.config.peek_timeout_action = "continue"
    stage.start(A, REST)
    if sent:
        stage.send(sent)
    assert stage.wait(6) == ["rest"]


def test_after_cancel_nothing_is_heard(stage: Stage) -> None:
    stage.start(A)
    stage.peek.cancel()
    stage.peek.cancel()
    stage.send(b"aaaa")
    assert stage.wait(10) == []


def test_a_matcher_that_raises_ends_this_connection_alone(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.start(chain("fails", Fails("oops")), REST)
    assert stage.send(b"x") == ["matcher_error"]
    assert [record.message for record in caplog.records] == ["listener web could not choose a filter chain"]
    assert "LookupError: oops" in caplog.text


# Preambles


def test_a_preamble_is_taken_off_and_believed(stage: Stage) -> None:
    stage.start(A, preambles=(Header(b"H"), Header(b"I")))
    assert stage.send(b"HHH") == []
    assert stage.send(b"7II") == []
    assert stage.send(b"I8aa") == []
    assert (stage.info.source, stage.info.destination) == (("203.0.113.9", 1), ("192.0.2.1", ord("8")))
    assert stage.info.direct_source == ("198.51.100.1", 40000)
    assert stage.info.tlvs == {ord("H"): b"x", ord("I"): b"x"}
    assert stage.send(b"aa") == ["a"]
    assert stage.left == b"aaaa"


def test_one_that_is_not_there_is_passed_over(stage: Stage) -> None:
    stage.start(A, preambles=(Header(b"H"),))
    assert stage.send(b"aaaa") == ["a"]
    assert stage.left == b"aaaa"


def test_a_chain_that_waits_for_nothing_waits_for_the_preamble(stage: Stage) -> None:
    assert stage.start(REST, preambles=(Header(b"H"),)) == []
    assert stage.send(b"HHHH") == ["rest"]


def test_a_broken_preamble_is_refused_by_its_code(stage: Stage) -> None:
    stage.start(REST, preambles=(Header(b"H"),))
    assert stage.send(b"!") == ["bad_header"]


def test_a_preamble_that_never_ends(stage: Stage) -> None:
    stage.start(REST, preambles=(Header(b"H"),))
    stage.client.send(b"HH")
    stage.client.shutdown(socket.SHUT_WR)
    assert stage.finish() == ["preamble_incomplete"]


def test_without_its_preamble_it_cannot_go_on(stage: Stage) -> None:
    stage.listener.config.peek_timeout_action = "continue"
    stage.start(REST, preambles=(Header(b"H"),))
    assert stage.wait(6) == ["peek_timeout"]


@pytest.mark.parametrize("ends", [False, True])
def test_a_preamble_that_takes_more_than_there_is(ends: bool, stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.start(REST, preambles=(Header(b"H"),))
    stage.client.send(b">")
    if ends:
        stage.client.shutdown(socket.SHUT_WR)
    assert stage.finish() == ["matcher_error"]
    assert "header takes 2 bytes of 1" in caplog.text
