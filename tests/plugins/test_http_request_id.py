from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import Any

from clusters import run
from http_peers import Seen, connect, http_proxy, upstream
from l4proxy.plugins.http_request_id import new_id, new_trace
from l4proxy.protocols.trace_context import parse_traceparent


def test_ids_are_random_uuids() -> None:
    made = {new_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(uuid.UUID(one).version == 4 and str(uuid.UUID(one)) == one for one in made)


def test_ids_and_traces() -> None:
    async def conversation() -> None:
        use: dict[str, Any] = {"use": "request_id", "respond": True, "trace": True}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            reply = await client.get()
            assert up.seen[0].field("x-request-id") == reply.field("x-request-id")
            assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-01", up.seen[0].field("traceparent") or "")
            trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
            reply = await client.get("/", "X-Request-ID: mine", f"traceparent: {trace}", "tracestate: a=b")
            assert reply.field("x-request-id") == up.seen[1].field("x-request-id") == "mine"
            assert (up.seen[1].field("traceparent"), up.seen[1].field("tracestate")) == (trace, "a=b")
            await client.get("/", "traceparent: 00-0-0-0", "tracestate: a=b")
            assert up.seen[2].field("tracestate") is None

    run(conversation)


def test_ids_of_strangers_can_be_replaced() -> None:
    async def conversation() -> None:
        use = {"use": "request_id", "keep": False}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            assert (await client.get("/", "x-request-id: mine")).field("x-request-id") is None
            assert up.seen[0].field("x-request-id") != "mine"

    run(conversation)


def test_traces_begun_here_are_sampled_as_wanted() -> None:
    assert {new_trace(percent).sampled for percent in (0, 0, 0) for _ in range(100)} == {False}
    assert all(new_trace(100).sampled for _ in range(100))
    assert {new_trace(50).sampled for _ in range(200)} == {False, True}
    made = new_trace(100)
    assert parse_traceparent(str(made)) == made


def test_traces_of_strangers_can_be_replaced_and_logs_have_what_upstreams_get(tmp_path: Path) -> None:
    log = tmp_path / "log"
    line = "%TRACE_ID% %SPAN_ID% %TRACE_SAMPLED%"
    trace = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")

    async def conversation(keep: bool) -> Seen:
        use: dict[str, Any] = {"use": "request_id", "keep": keep, "trace": True, "sample": 0}
        config = {"access_log": [{"use": "file", "path": str(log), "format": line}]}
        async with upstream() as up, http_proxy(up, filters=[use], config=config) as proxy, connect(proxy) as client:
            await client.get("/", f"traceparent: 00-{'-'.join(trace)}-01", "tracestate: a=b")
        return up.seen[0]

    seen = run(lambda: conversation(True))
    assert seen.field("tracestate") == "a=b"
    seen = run(lambda: conversation(False))
    assert seen.field("tracestate") is None
    made = parse_traceparent(seen.field("traceparent"))
    assert made is not None
    assert made.trace_id != trace[0]
    assert log.read_text().splitlines() == [f"{trace[0]} {trace[1]} 1", f"{made.trace_id} {made.parent_id} 0"]
