"""Laws of a path, over random scripts: nothing is lost, doubled or reordered, and the end stays behind the bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from l4proxy import Filter, NoConfig, Side
from l4proxy.testing import harness


class Pass(Filter[NoConfig]):
    name = "pass"

    def on_client_data(self, data: bytes) -> bytes:
        return data

    def on_upstream_data(self, data: bytes) -> bytes:
        return data


class Fickle(Pass):
    """Pauses and resumes itself from inside its callback, by what the bytes say."""

    name = "fickle"

    def on_client_data(self, data: bytes) -> bytes:
        if data[0] % 3 == 0:
            self.conn.pause(Side.CLIENT)
        if data[0] % 5 == 0:
            self.conn.resume(Side.CLIENT)
        return data


class Silent(Filter[NoConfig]):
    """Reads nothing, but can be paused all the same."""

    name = "silent"


FILTERS = st.lists(st.sampled_from([Pass, Fickle, Silent]), min_size=1, max_size=4)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "answer", "pause", "resume", "full", "room", "detach", "time"]), st.integers(0, 3)
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(FILTERS, STEPS, st.booleans())
def test_every_byte_arrives_once_and_in_order(
    kinds: list[type[Filter[NoConfig]]], steps: list[tuple[str, int]], early: bool
) -> None:
    h = harness(*kinds, connect=not early, buffer_limit=64)
    filters = h.filters[: len(kinds)]
    sent, answered = bytearray(), bytearray()
    for number, (step, which) in enumerate(steps):
        conn = filters[which % len(filters)].conn
        chunk = bytes([number]) * (1 + 7 * which)
        if step == "send":
            sent += chunk
            h.client.send(chunk)
        elif step == "answer" and not early:
            answered += chunk
            h.upstream.send(chunk)
        elif step == "pause":
            conn.pause((Side.CLIENT, Side.UPSTREAM, None)[which % 3])
        elif step == "resume":
            conn.resume((Side.CLIENT, Side.UPSTREAM, None)[which % 3])
        elif step == "full":
            h.upstream.stop_reading(which)
        elif step == "room":
            h.upstream.read_again()
        elif step == "detach":
            conn.detach()
        h.run()
    if early:
        h.connect_upstream()
    h.client.eof()
    h.upstream.read_again()
    for _ in range(len(steps) + 1):
        for one in filters:
            one.conn.resume()
        h.run()
    assert h.upstream.received == sent
    assert h.client.received == answered
    assert h.upstream.got_eof
    h.upstream.eof()
    assert h.finished
    assert h.closed is not None
    assert h.closed.detail == "eof"
