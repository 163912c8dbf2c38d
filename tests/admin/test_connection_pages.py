"""The pages about connections: all of them, one of them, and how one is ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from admin_client import HOST, Admins, administered
from clusters import listening, refused, run, until
from l4proxy import Filter, NoConfig, Register, hookimpl
from l4proxy.access_log.recent import KEPT
from l4proxy.admin import connection_pages
from l4proxy.admin_target import Answer
from l4proxy.plugin_manager import load_plugins

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def words(text: str) -> str:
    return " ".join(text.split())


async def connect(admins: Admins, listener: str = "echo") -> Streams:
    """A connection that the proxy serves."""
    before = len(await rows(admins))
    streams = await asyncio.open_connection(HOST, admins.server.addresses[listener][0].port)
    while len(await rows(admins)) == before:
        await asyncio.sleep(0.005)
    return streams


async def rows(admins: Admins, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await admins.get(f"/connections?format=json{query}")).data["connections"]
    return found


def test_open_connections() -> None:
    async def main() -> None:
        async with administered() as admins:
            reader, writer = await connect(admins)
            writer.write(b"hello")
            await reader.readexactly(5)
            (one,) = await rows(admins)
            host, port = writer.get_extra_info("sockname")
            assert (one["client"], one["listener"], one["phase"]) == (f"{host}:{port}", "echo", "relay")
            assert (one["bytes_received"], one["bytes_sent"], one["filters"]) == (5, 5, ["echo"])
            text = (await admins.get("/connections")).text
            assert text.split("\n")[0].split()[:4] == ["id", "age", "client", "listener"]
            assert f"{host}:{port} echo - - - - relay 5 B 5 B echo" in words(text)
            writer.close()

    run(main)


def test_many_connections_are_shown_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_pages, "PAGE", 3)

    async def main() -> None:
        async with administered() as admins:
            streams = [await connect(admins) for _ in range(8)]
            every = [one["id"] for one in await rows(admins)]
            assert len(every) == 8
            assert every == sorted(every)
            reply = await admins.get("/connections?limit=5")
            assert reply.text.endswith("# there are more than 5: see ?limit= and ?after=\n")
            assert (await admins.get("/connections?limit=5&format=json")).data["more"] is True
            assert [one["id"] for one in await rows(admins, f"&limit=5&after={every[4]}")] == every[5:]
            assert (await admins.get("/connections?limit=8&format=json")).data["more"] is False
            port = streams[2][1].get_extra_info("sockname")[1]
            assert [one["id"] for one in await rows(admins, f"&limit=1&filter=:{port}%20")] == [every[2]]
            assert await rows(admins, "&filter=nobody") == []
            assert await rows(admins, "&worker=1") == []
            assert len(await rows(admins, "&worker=0")) == 8
            for _, writer in streams:
                writer.close()

    run(main)


@pytest.mark.parametrize(
    "query", ["limit=x", "limit=-1", "limit=", "after=1.5", "worker=all", "filter=[", f"limit={'9' * 20}"]
)
def test_questions_that_cannot_be_answered(query: str) -> None:
    async def main() -> None:
        async with administered() as admins:
            assert (await admins.get(f"/connections?{query}")).status == 400

    run(main)


def test_the_last_connections_that_ended_and_why() -> None:
    nobody = refused()

    async def main() -> None:
        listeners = [{"name": "web", "address": f"{HOST}:0", "filters": [{"use": "tcp_proxy", "cluster": "down"}]}]
        config = {"listeners": listeners, "clusters": [{"name": "down", "endpoints": [nobody]}]}
        async with administered(config) as admins:
            for _ in range(3):
                reader, writer = await asyncio.open_connection(HOST, admins.server.addresses["web"][0].port)
                assert await reader.read() == b""
                writer.close()
            await until(lambda: admins.server.active == 0)
            closed = await rows(admins, "&closed")
            assert len(closed) == 3
            assert [one["id"] for one in closed] == sorted((one["id"] for one in closed), reverse=True)
            assert {one["reason"].split()[0] for one in closed} == {"upstream:connect_refused"}
            assert "connect_refused phase=connecting" in (await admins.get("/connections?closed")).text
            number = closed[0]["id"]
            (one,) = (await admins.get(f"/connections/{number}?format=json")).data["connections"]
            assert one["state"] == "closed"
            assert (one["close_reason"]["detail"], one["close_reason"]["flags"]) == ("connect_refused", ["UF", "URX"])
            assert one["upstream"]["endpoint"] == nobody
            assert "detail: connect_refused" in words((await admins.get(f"/connections/{number}")).text)

    run(main)


def test_so_many_are_remembered_and_no_more() -> None:
    async def main() -> None:
        async with administered() as admins:
            port = admins.server.addresses["echo"][0].port
            for _ in range(KEPT + 5):
                _, writer = await asyncio.open_connection(HOST, port)
                writer.close()
            await until(lambda: len(admins.server.recent.records) == KEPT and admins.server.active == 0)
            closed = await rows(admins, "&closed&limit=1000")
            assert len(closed) == KEPT
            gone = min(one["id"] for one in closed) - 1
            reply = await admins.get(f"/connections/{gone}")
            assert reply.status == 404
            assert reply.text == f"there is no connection {gone}, neither open nor among the last that ended\n"

    run(main)


def test_what_a_connection_waits_for() -> None:
    async def main() -> None:
        with listening() as silent:
            upstream = f"{HOST}:{silent.getsockname()[1]}"
            listeners = [{"name": "web", "address": f"{HOST}:0", "filters": [{"use": "tcp_proxy", "cluster": "up"}]}]
            config = {"listeners": listeners, "clusters": [{"name": "up", "endpoints": [upstream]}]}
            async with administered(config) as admins:
                _, writer = await connect(admins, "web")
                (row,) = await rows(admins)

                async def explained() -> dict[str, Any]:
                    reply = await admins.get(f"/connections/{row['id']}?format=json")
                    one: dict[str, Any] = reply.data["connections"][0]
                    return one

                one = await explained()
                assert (one["state"], one["client"]["reading"], one["client"]["not_read_because"]) == ("open", True, [])
                assert one["upstream"]["address"] == upstream
                writer.write(b"x" * (32 << 20))
                while (one := await explained())["client"]["reading"]:
                    await asyncio.sleep(0.01)
                assert one["upstream"]["bytes_buffered"] > 0
                assert any("the other side does not keep up" in why for why in one["client"]["not_read_because"])
                text = words((await admins.get(f"/connections/{row['id']}")).text)
                assert "not_read_because: the other side does not keep up" in text
                assert f"connection {row['id']}: state: open" in text
                writer.transport.abort()

    run(main)


class Asks(Filter[NoConfig]):
    """Has to look something up for every connection, and is never told."""

    name = "asks"

    async def on_connect(self) -> None:
        await asyncio.Event().wait()


class Holds(Filter[NoConfig]):
    name = "holds"

    def on_client_data(self, data: bytes) -> bytes:
        self.conn.pause()
        return data


class Plugin:
    @hookimpl
    def register_filters(self, register: Register[Any]) -> None:
        register(Asks)
        register(Holds)


def test_which_filter_a_connection_waits_for() -> None:
    plugins = load_plugins(environ={"L4PROXY_LOAD_PLUGINS": ""})
    plugins.register(Plugin(), "waits")
    listeners = [{"name": one, "address": f"{HOST}:0", "filters": [one, "echo"]} for one in ("asks", "holds")]

    async def main() -> None:
        async with administered({"listeners": listeners}, plugins=plugins) as admins:
            _, asking = await connect(admins, "asks")
            _, holding = await connect(admins, "holds")
            first, second = (f"/connections/{one['id']}" for one in await rows(admins))
            assert "not_read_because: an on_connect is not done" in words((await admins.get(first)).text)
            holding.write(b"12345")
            while "bytes_received: 5" not in words((await admins.get(second)).text):
                await asyncio.sleep(0.005)
            holding.write(b"678")
            (one,) = (await admins.get(f"{second}?format=json")).data["connections"]
            assert one["waiting"]["client_to_upstream"] == [{"in_front_of": "holds", "bytes": 0, "paused": True}]
            assert "client_to_upstream: in_front_of=holds bytes=0 paused=yes" in words((await admins.get(second)).text)
            assert one["client"]["not_read_because"] == ["something waits in front of a filter or for the upstream"]
            asking.close()
            holding.close()

    run(main)


def test_ending_a_connection() -> None:
    async def main() -> None:
        async with administered() as admins:
            reader, writer = await connect(admins)
            (one,) = await rows(admins)
            path = f"/connections/{one['id']}/close"
            reply = await admins.get(path)
            assert (reply.status, reply.headers["allow"]) == (405, "POST")
            assert (await admins.post(path)).text == f"connection {one['id']} is closed\n"
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            assert (await admins.post(path)).status == 409
            assert (await admins.post("/connections/999999999/close")).status == 404
            assert (await rows(admins, "&closed"))[0]["reason"].startswith("proxy:closed_by_admin")
            writer.close()

    run(main)


class Two:
    """Two workers that number their connections alike."""

    state = "LIVE"
    workers = 2

    def __init__(self) -> None:
        self.closed: list[tuple[int | None, dict[str, Any]]] = []

    async def describe(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        answers: dict[str, dict[int, Any]] = {
            "connection": {0: {"state": "open"} if arguments.get("id") == 5 else None, 1: {"state": "open"}},
            "connections": {0: [_row(5)], 1: [_row(5), _row(6)]},
            "closed_connections": {0: [_row(1, ended="b")], 1: [_row(2, ended="c"), _row(3, ended="a")]},
        }
        found = answers[what]
        return [Answer(number, found[number]) for number in found if worker in (None, number)]

    async def change(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        self.closed.append((worker, arguments))
        return []


def _row(number: int, **more: Any) -> dict[str, Any]:
    texts = ("client", "listener", "server_name", "protocol", "cluster", "endpoint", "phase", "reason", "ended")
    numbers = ("age_seconds", "duration_seconds", "bytes_received", "bytes_sent")
    return {"id": number, **dict.fromkeys(texts, ""), **dict.fromkeys(numbers, 0), "filters": [], **more}


def test_workers_that_number_their_connections_alike() -> None:
    async def main() -> None:
        two = Two()
        async with administered(target=two) as admins:  # type: ignore[arg-type]
            assert [(one["worker"], one["id"]) for one in await rows(admins)] == [(0, 5), (1, 5), (1, 6)]
            assert [one["id"] for one in await rows(admins, "&closed")] == [2, 1, 3]
            assert (await admins.get("/connections")).text.split()[:2] == ["id", "worker"]
            assert len((await admins.get("/connections/5?format=json")).data["connections"]) == 2
            assert "connection 5 of worker 1:" in (await admins.get("/connections/5")).text
            both = await admins.post("/connections/5/close")
            assert (both.status, both.text) == (409, "there is a connection 5 in workers 0 and 1: add ?worker=\n")
            assert (await admins.post("/connections/5/close?worker=1")).status == 200
            assert (await admins.post("/connections/6/close")).status == 200
            assert two.closed == [(1, {"id": 5}), (1, {"id": 6})]
            assert (await admins.post("/connections/5/close?worker=7")).status == 404

    run(main)
