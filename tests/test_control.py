"""Two processes that talk, both ends in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from clusters import run, until
from l4proxy.control import Control, ControlError


@contextlib.asynccontextmanager
async def talking(one: Control, other: Control, *, hello: str = "") -> AsyncIterator[None]:
    ends = socket.socketpair()
    tasks = [
        asyncio.create_task(one.run(ends[0], hello=hello)),
        asyncio.create_task(other.run(ends[1])),
    ]
    await until(lambda: one._writer and other._writer)
    try:
        yield
    finally:
        tasks[0].cancel()
        await asyncio.wait(tasks)
        tasks[1].result()


async def refusal(call: Coroutine[Any, Any, Any]) -> str:
    with pytest.raises(ControlError) as refused:
        await call
    return str(refused.value)


def test_both_ends_ask_and_answer() -> None:
    async def slowly(text: str) -> str:
        await asyncio.sleep(0)
        return text.upper()

    async def main() -> None:
        one, other = Control({"add": lambda a, b: a + b}), Control({"shout": slowly})
        async with talking(one, other):
            assert await other.call("add", a=2, b=3) == 5
            assert await one.call("shout", text="hé") == "HÉ"
            big = await other.call("add", a=["x" * 1_000_000], b=[None, {"k": 1.5}])
            assert big == ["x" * 1_000_000, None, {"k": 1.5}]

    run(main)


def test_answers_go_to_those_who_asked_whatever_their_order() -> None:
    async def main() -> None:
        gates = [asyncio.Event() for _ in range(3)]

        async def wait(number: int) -> int:
            await gates[number].wait()
            return number

        one, other = Control({"wait": wait}), Control({})
        async with talking(one, other):
            calls = [asyncio.create_task(other.call("wait", number=number)) for number in range(3)]
            for number in (2, 0, 1):
                gates[number].set()
                assert await calls[number] == number

    run(main)


def test_an_announcement_needs_no_answer() -> None:
    async def main() -> None:
        heard: list[Any] = []
        one = Control({})
        other = Control({"ready": lambda: heard.append("ready"), "note": lambda text: heard.append(text)})
        async with talking(one, other, hello="ready"):
            one.tell("note", text="x")
            one.tell("unknown")
            await until(lambda: heard == ["ready", "x"])

    run(main)


def fail(error: Exception) -> Callable[[], None]:
    def handler() -> None:
        raise error

    return handler


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (fail(ValueError("no such file")), "no such file"),
        (fail(RuntimeError()), "RuntimeError"),
        (lambda: {1, 2}, "not JSON serializable"),
        (lambda needed: needed, "needed"),
        (None, "there is no call 'work'"),
    ],
)
def test_an_error_at_the_other_end_is_an_error_here(handler: Callable[..., Any] | None, text: str) -> None:
    async def main() -> None:
        one, other = Control({}), Control({"work": handler} if handler else {})
        async with talking(one, other):
            assert text in await refusal(one.call("work"))
            assert await refusal(one.call("else")) == "there is no call 'else'", "it goes on"

    run(main)


def test_an_end_that_does_not_answer_in_time_can_be_asked_again() -> None:
    async def main() -> None:
        one, other = Control({}), Control({"never": asyncio.Event().wait, "now": lambda: 1})
        async with talking(one, other):
            assert await refusal(one.call("never", timeout=0.01)) == "no answer to 'never' within 0.01 s"
            assert await one.call("now") == 1

    run(main)


def test_when_the_other_end_is_gone_no_question_waits() -> None:
    async def main() -> None:
        control = Control({})
        assert await refusal(control.call("early")) == "the process is gone"
        ours, theirs = socket.socketpair()
        running = asyncio.create_task(control.run(ours))
        await until(lambda: control._writer)
        question = asyncio.create_task(refusal(control.call("never")))
        await until(lambda: control._waiting)
        theirs.close()
        assert await question == "the process is gone"
        await running
        assert await refusal(control.call("late")) == "the process is gone"
        control.tell("nobody listens")

    run(main)


@pytest.mark.parametrize(
    "line", [b"not json\n", b"\xff\n", b'{"id": 99, "answer": 1}\n{"answer": 1}\nno', b'"half a li']
)
def test_what_is_no_message_ends_the_talk(line: bytes) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        theirs.send(line)
        theirs.close()
        await Control({}).run(ours)

    run(main)
