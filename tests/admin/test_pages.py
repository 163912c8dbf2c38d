"""The pages about the process and what it routes, as an operator reads them."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from admin_client import HOST, administered, talk
from clusters import listening, refused, run, until
from l4proxy.admin_target import Answer
from l4proxy.describe import DESCRIPTIONS
from services.certs import Authority

STRANGE = '<script>alert("x")</script>\x1b[2J'


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_page_has_both_forms() -> None:
    async def main() -> None:
        async with administered() as admins:
            for page in ("server_info", "listeners", "clusters", "connections", "stats", "certs", "plugins", "memory",
                         "logging", "config_dump", "tables"):  # fmt: skip
                text = await admins.get(f"/{page}")
                data = await admins.get(f"/{page}?format=json")
                accepted = await admins.get(f"/{page}", Accept="application/json")
                assert (text.status, data.status, accepted.status) == (200, 200, 200), page
                assert text.headers["content-type"] == "text/plain; charset=utf-8"
                assert data.headers["content-type"] == accepted.headers["content-type"] == "application/json"
                assert isinstance(data.data, dict)
                assert accepted.data.keys() == data.data.keys()

    run(main)


def test_server_info() -> None:
    async def main() -> None:
        async with administered() as admins:
            data = (await admins.get("/server_info?format=json")).data
            (worker,) = data["workers"]
            assert (data["state"], worker["worker"], worker["state"], worker["connections"]) == ("LIVE", 0, "LIVE", 0)
            text = words((await admins.get("/server_info")).text)
            assert text.startswith(f"l4proxy {data['version']}: LIVE, up ")
            assert f"0 {worker['pid']} LIVE" in text

    run(main)


def test_listeners_and_their_chains() -> None:
    chains = [
        {"name": "inside", "match": {"source": ["10.0.0.0/8"]}, "filters": ["echo"]},
        {"name": "rest", "filters": [{"use": "connection_limit", "max_connections": 3}, "echo"]},
    ]
    listeners = [{"name": "web", "address": f"{HOST}:0", "max_connections": 7, "filter_chains": chains}]

    async def main() -> None:
        async with administered({"listeners": listeners}) as admins:
            address = str(admins.server.addresses["web"][0])
            text = words((await admins.get("/listeners")).text)
            assert f"web {address} accepting 0 of 7 0 0 0 0 B 0 B" in text
            assert "web inside source no echo" in text
            assert "web rest - no connection_limit, echo" in text

    run(main)


def test_clusters_say_what_is_wrong() -> None:
    nobody = refused()

    async def main() -> None:
        with listening() as sock:
            up = f"{HOST}:{sock.getsockname()[1]}"
            clusters = [
                {"name": "up", "endpoints": [up]},
                {"name": "down", "endpoints": [{"address": nobody, "weight": 5}]},
                {"name": "lost", "endpoints": ["no-such-host.invalid:80"], "discovery": "strict_dns"},
            ]
            listeners = [
                {"name": one, "address": f"{HOST}:0", "filters": [{"use": "tcp_proxy", "cluster": one}]}
                for one in ("up", "down")
            ]
            async with administered({"listeners": listeners, "clusters": clusters}) as admins:
                addresses = {name: at[0] for name, at in admins.server.addresses.items()}
                _, writer = await asyncio.open_connection(HOST, addresses["up"].port)
                assert await talk(addresses["down"].port) == b""
                cluster = admins.server.clusters.find("up")
                await until(lambda: cluster.endpoints.open == 1)
                lost = admins.server.clusters.find("lost")
                await until(lambda: lost.discovery.problem)
                data = (await admins.get("/clusters?format=json")).data["clusters"]
                by_name = {one["name"]: one for one in data}
                assert by_name["up"]["endpoints"][0]["connections"] == 1
                assert by_name["down"]["connect_failed_total"] == {"connect_refused": 1}
                assert by_name["down"]["endpoints"][0]["weight"] == 5
                assert "no-such-host.invalid" in by_name["lost"]["problem"]
                text = words((await admins.get("/clusters")).text)
                assert "cluster down: discovery: static problem: - load balancer: round_robin" in text
                assert "failed: 1 (connect_refused 1)" in text
                assert "connections: 1 of 1024, 0 being made" in text
                writer.close()

    run(main)


def test_secrets_are_not_in_the_configuration_that_is_shown() -> None:
    async def main() -> None:
        admin = {"address": f"{HOST}:0", "token": "s3cret"}
        async with administered({"admin": admin}) as admins:
            reply = await admins.get("/config_dump")
            assert "s3cret" not in reply.text
            assert reply.data["admin"]["token"] == "****"
            assert reply.data["listeners"][0]["name"] == "echo"
            assert reply.data == (await admins.get("/config_dump?format=json")).data

    run(main)


def test_certificates_and_their_days(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    certificate = Authority(tmp_path, "authority").issue("web", ["web.test", "*.web.test"], days=(-1, 30))
    listener = {
        "name": "tls",
        "address": f"{HOST}:0",
        "tls": {"cert": str(certificate.cert), "key": str(certificate.key)},
        "filters": ["echo"],
    }

    async def main() -> None:
        async with administered({"listeners": [listener]}) as admins:
            (one,) = (await admins.get("/certs?format=json")).data["certificates"]
            assert one["used_by"] == "listener tls"
            assert one["names"] == ["DNS:web.test", "DNS:*.web.test"]
            assert one["days_left"] in (29, 30)
            assert one["path"] == str(certificate.cert)
            assert "listener tls" in (await admins.get("/certs")).text

    run(main)


def test_plugins() -> None:
    async def main() -> None:
        async with administered() as admins:
            plugins = {one["name"]: one for one in (await admins.get("/plugins?format=json")).data["plugins"]}
            assert plugins["echo"]["loaded"] is True
            assert plugins["echo"]["registered"] == ["filter echo"]
            assert "echo yes l4proxy" in words((await admins.get("/plugins")).text)

    run(main)


def test_memory_is_counted_in_turns() -> None:
    async def main() -> None:
        async with administered() as admins:
            (one,) = (await admins.get("/memory?format=json")).data["workers"]
            assert one["resident_bytes"] > 1 << 20
            assert one["objects"]["total"] > 1000
            assert len(one["objects"]["types"]) == 20
            assert one["allocations"] == []
            assert "resident:" in (await admins.get("/memory")).text
            tracemalloc.start()
            try:
                (one,) = (await admins.get("/memory?format=json")).data["workers"]
                assert one["allocations"]
                assert "allocated at" in (await admins.get("/memory")).text
            finally:
                tracemalloc.stop()

    run(main)


def test_statistics_by_name_and_use() -> None:
    async def main() -> None:
        async with administered() as admins:
            reader, writer = await asyncio.open_connection(HOST, admins.server.addresses["echo"][0].port)
            writer.write(b"hello")
            await reader.readexactly(5)
            lines = (await admins.get("/stats?filter=^l4proxy_listener_.*bytes")).text.splitlines()
            assert lines == [
                'l4proxy_listener_received_bytes_total{listener="echo"}: 5',
                'l4proxy_listener_sent_bytes_total{listener="echo"}: 5',
            ]
            everything = (await admins.get("/stats")).text
            used = (await admins.get("/stats?usedonly")).text
            assert "l4proxy_server_draining: 0\n" in everything
            assert "l4proxy_server_draining" not in used
            assert 'l4proxy_listener_connections_active{listener="echo"}: 1\n' in used
            writer.close()
            await until(lambda: admins.server.active == 0)
            seconds = (await admins.get("/stats?filter=connection_seconds")).text
            assert seconds.startswith('l4proxy_listener_connection_seconds{listener="echo"}: count=1 mean=')
            assert " p50=" in seconds

    run(main)


def test_statistics_in_other_formats() -> None:
    async def main() -> None:
        async with administered() as admins:
            text = await admins.get("/stats?format=prometheus&filter=draining")
            assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
            assert text.text == (
                "# HELP l4proxy_server_draining 1 while the server drains.\n"
                "# TYPE l4proxy_server_draining gauge\nl4proxy_server_draining 0\n"
            )
            assert (await admins.get("/stats/prometheus?filter=draining")).text == text.text
            data = (await admins.get("/stats?format=json&filter=draining")).data
            assert data["l4proxy_server_draining"]["series"] == [{"labels": {}, "value": 0}]
            whole = (await admins.get("/stats/prometheus")).text
            assert "l4proxy_server_uptime_seconds" in whole
            assert 'l4proxy_build_info{version="' in whole
            for query in ("format=xml", "filter=(a%2B)%2B", "fliter=x", "filter=["):
                assert (await admins.get(f"/stats?{query}")).status == 400

    run(main)


def test_statistics_are_what_prometheus_reads() -> None:
    parser = pytest.importorskip("prometheus_client.parser")

    async def main() -> None:
        async with administered(
            {"listeners": [{"name": STRANGE, "address": f"{HOST}:0", "filters": ["echo"]}]}
        ) as admins:
            families = list(parser.text_string_to_metric_families((await admins.get("/stats/prometheus")).text))
            labels = [sample.labels.get("listener") for family in families for sample in family.samples]
            assert STRANGE in labels

    run(main)


def test_names_of_strangers_cannot_harm_a_reader() -> None:
    listener = {"name": STRANGE, "address": f"{HOST}:0", "filters": ["echo"]}

    async def main() -> None:
        async with administered({"listeners": [listener]}) as admins:
            index = await admins.get("/")
            assert index.headers["content-type"] == "text/html; charset=utf-8"
            assert "<script" not in index.text
            assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;\\x1b[2J" in index.text
            for page in ("/listeners", "/stats", "/config_dump", "/listeners?format=json"):
                reply = await admins.get(page)
                assert "\x1b" not in reply.text, page
                assert not reply.headers["content-type"].startswith("text/html")

    run(main)


def test_the_index_is_one_page_without_scripts() -> None:
    async def main() -> None:
        async with administered() as admins:
            reply = await admins.get("/")
            for path in ("/stats", "/clusters", "/listeners", "/connections", "/config_dump", "/server_info",
                         "/memory", "/certs", "/logging", "/plugins"):  # fmt: skip
                assert f'href="{path}"' in reply.text
            for word in ("<script", "javascript:", "http://", "https://", "<img", "<link"):
                assert word not in reply.text
            assert '<form method="post" action="/reload">' in reply.text
            assert 'action="/quitquitquit"' not in reply.text, "what cannot be taken back has no button"

    run(main)


def test_help_names_every_page_and_change() -> None:
    async def main() -> None:
        async with administered() as admins:
            text = (await admins.get("/help")).text
            for path in ("/stats/prometheus", "/connections/ID", "/connections/ID/close", "/quitquitquit", "/reload"):
                assert f" {path} " in text

    run(main)


class Two:
    """Two workers, made of the answers of one server and what differs."""

    state = "LIVE"
    workers = 2

    def __init__(self, *answers: list[Any] | dict[str, Any]) -> None:
        self.answers = answers

    async def describe(self, what: str, *, worker: int | None = None, **arguments: Any) -> list[Answer]:
        return [Answer(number, answer) for number, answer in enumerate(self.answers)]


def test_workers_that_differ_are_shown_each() -> None:
    async def main() -> None:
        same = Two({"listeners": []}, {"listeners": []})
        async with administered(target=same) as admins:  # type: ignore[arg-type]
            assert (await admins.get("/config_dump")).data == {"listeners": []}
        differ = Two({"drain_time": "1s"}, {"drain_time": "2s"})
        async with administered(target=differ) as admins:  # type: ignore[arg-type]
            assert (await admins.get("/config_dump")).data == {
                "worker 0": {"drain_time": "1s"},
                "worker 1": {"drain_time": "2s"},
            }

    run(main)


def test_a_worker_that_does_not_answer_is_missed() -> None:
    async def main() -> None:
        async with administered(target=Two([])) as admins:  # type: ignore[arg-type]
            for page in ("/clusters", "/listeners", "/certs", "/plugins", "/tables"):
                assert "# 1 of 2 workers did not answer\n" in (await admins.get(page)).text

    run(main)


def test_there_is_a_page_for_all_that_can_be_described() -> None:
    assert DESCRIPTIONS.keys() == {
        "certs", "closed_connections", "clusters", "config_dump", "connection", "connections", "listeners", "logging",
        "memory", "plugins", "server_info", "tables",
    }  # fmt: skip
