"""kafka_proxy in front of scripted brokers: clients find each of them behind its port, and no address of theirs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from clusters import run
from kafka_broker import Asked, Broker, Client, Cluster, cluster
from kafka_messages import request, response
from l4proxy.errors import ConfigError
from proxying import HOST, Proxy, proxy
from services.process import neighbouring_ports


@contextlib.asynccontextmanager
async def proxied(brokers: Cluster, *, ports: int = 6, **options: Any) -> AsyncIterator[Proxy]:
    first = neighbouring_ports(ports)
    listener = {"address": f"{HOST}:{first}-{first + ports - 1}"}
    use = {"use": "kafka_proxy", "cluster": "up", **options.pop("filter", {})}
    async with proxy(use, upstreams=brokers.bootstrap, listener=listener, **options) as running:
        yield running


def addresses(brokers: list[dict[str, Any]]) -> dict[int, tuple[str, int]]:
    return {one["node_id"]: (one["host"], one["port"]) for one in brokers}


def test_every_broker_is_behind_a_port_of_its_own() -> None:
    async def main() -> None:
        async with cluster(1, 2, 4) as brokers, proxied(brokers) as front:
            client = await Client.connect(front.port)
            metadata = await client.ask("Metadata", 9, topics=[])
            assert addresses(metadata["brokers"]) == {
                1: (HOST, front.port + 2),
                2: (HOST, front.port + 3),
                4: (HOST, front.port + 5),
            }
            for node, (_, port) in addresses(metadata["brokers"]).items():
                there = await Client.connect(port)
                await there.ask("Heartbeat", 4, group_id=f"g{node}")
                assert brokers.brokers[node].names[-1] == "Heartbeat"
                await there.close()
            assert front.value("l4proxy_kafka_proxy_brokers", cluster="up") == 3
            await client.close()

    run(main)


def test_ports_are_counted_in_a_circle() -> None:
    """Brokers 1001 and 1002 find room in five ports; 1006 would be where 1001 is, and clients are not told of it."""

    async def main() -> None:
        async with cluster(1001, 1002, 1006) as brokers, proxied(brokers) as front:
            client = await Client.connect(front.port)
            metadata = await client.ask("Metadata", 1, topics=[])
            assert addresses(metadata["brokers"]) == {1001: (HOST, front.port + 2), 1002: (HOST, front.port + 3)}
            assert front.value("l4proxy_kafka_proxy_unplaced_brokers", cluster="up") == 1
            brokers.listed = [1002, 1006]
            metadata = await client.ask("Metadata", 1, topics=[])
            assert addresses(metadata["brokers"]) == {1006: (HOST, front.port + 2), 1002: (HOST, front.port + 3)}
            there = await Client.connect(front.port + 2)
            await there.ask("Heartbeat", 4)
            assert brokers.brokers[1006].names[-1] == "Heartbeat"
            await there.close()
            await client.close()

    run(main)


def test_one_port_does_for_one_broker() -> None:
    async def main() -> None:
        async with (
            cluster(7) as brokers,
            proxy({"use": "kafka_proxy", "cluster": "up"}, upstreams=brokers.bootstrap) as front,
        ):
            client = await Client.connect(front.port)
            assert addresses((await client.ask("Metadata", 1, topics=[]))["brokers"]) == {7: (HOST, front.port)}
            again = await Client.connect(front.port)
            await again.ask("Heartbeat", 4)
            assert brokers.brokers[7].names == ["Metadata", "Heartbeat"]
            await again.close()
            await client.close()

    run(main)


def test_brokers_by_port_one_by_one_and_addresses_as_clients_have_them() -> None:
    async def main() -> None:
        async with cluster(1, 2) as brokers:
            first = neighbouring_ports(6)
            filter = {
                "broker_ports": {"1": first + 4},
                "advertised_host": "kafka.example",
                "advertised_ports": "30000-30005",
            }
            listener = {"address": f"{HOST}:{first}-{first + 5}"}
            use = {"use": "kafka_proxy", "cluster": "up", **filter}
            async with proxy(use, upstreams=brokers.bootstrap, listener=listener):
                client = await Client.connect(first)
                metadata = await client.ask("Metadata", 1, topics=[])
                assert addresses(metadata["brokers"]) == {1: ("kafka.example", 30004)}
                there = await Client.connect(first + 4)
                await there.ask("Heartbeat", 4)
                assert brokers.brokers[1].names[-1] == "Heartbeat"
                await there.close()
                await client.close()

    run(main)


def test_a_broker_that_is_not_known_yet_is_asked_for() -> None:
    """The client comes with an address from before a restart."""

    async def main() -> None:
        async with cluster(1, 2, 3) as brokers, proxied(brokers) as front:
            there = [await Client.connect(front.port + 1 + node) for node in (1, 2, 3)]
            await asyncio.gather(*(client.ask("Heartbeat", 4) for client in there))
            assert [broker.names[-1] for broker in brokers.brokers.values()] == ["Heartbeat"] * 3
            asked = [asked for broker in brokers.brokers.values() for asked in broker.asked]
            assert sorted(one.api.name for one in asked) == ["Heartbeat"] * 3 + ["Metadata"]
            for client in there:
                await client.close()

    run(main)


def strict(broker: Broker, asked: Asked) -> bytes | None:
    """A broker that tells nobody of the others before it knows who asks."""
    return asked.answer(brokers=broker.owner.listing()) if asked.number else None


def test_a_client_is_asked_in_where_nobody_else_may_ask() -> None:
    """It may authenticate, and ask for Metadata; for more it has to be where it wanted to be, or comes again."""

    async def main() -> None:
        async with cluster(1, 2, 3) as brokers:
            brokers.answers["Metadata"] = strict
            for node, before in ((1, ()), (2, ("SaslHandshake",)), (3, ("Metadata",))):
                async with proxied(brokers) as front:
                    ends = 0
                    client = await Client.connect(front.port + 1 + node)
                    while not await tried(client, before):
                        ends += 1
                        client = await Client.connect(front.port + 1 + node)
                    asked = [one for one in brokers.brokers[node].asked if one.values.get("group_id") == "mine"]
                    assert len(asked) == 1
                    assert front.value("l4proxy_kafka_proxy_misdirected_total", cluster="up") == 1
                    closed = front.value("l4proxy_listener_closed_total", listener="test", reason="broker_learnt")
                    assert closed == ends <= 1
                for broker in brokers.brokers.values():
                    broker.asked.clear()

    run(main)


async def tried(client: Client, before: Sequence[str]) -> bool:
    """Whether the client got through with what it wants."""
    await client.ask("ApiVersions", 3)
    for name in before:
        await client.ask(name, 1)
    client.send("Heartbeat", 4, group_id="mine")
    try:
        client.read("Heartbeat", 4, await client.frame())
    except asyncio.IncompleteReadError:
        return False
    finally:
        await client.close()
    return True


def test_requests_that_come_behind_wait_for_the_right_broker() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            brokers.answers["Metadata"] = strict
            client = await Client.connect(front.port + 2)
            await client.ask("ApiVersions", 3)
            for _ in range(3):
                client.send("Heartbeat", 4)
            for number in range(2, 5):
                assert int.from_bytes((await client.frame())[4:8], "big") == number
            assert brokers.brokers[1].names == ["Metadata", "ApiVersions", "Metadata", *["Heartbeat"] * 3]
            await client.close()

    run(main)


def test_a_port_without_a_broker() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            brokers.answers["Metadata"] = strict
            client = await Client.connect(front.port + 5)
            client.send("ApiVersions", 3)
            client.send("Heartbeat", 4)
            await client.frame()
            assert await client.ended() == b""
            brokers.answers.clear()
            async with proxied(brokers) as other:
                client = await Client.connect(other.port + 5)
                assert await client.ended() == b""
            closed = front.value("l4proxy_listener_closed_total", listener="test", reason="unknown_broker")
            assert closed == 1

    run(main)


def test_a_broker_that_has_moved_is_found_again() -> None:
    async def main() -> None:
        async with cluster(1, 2) as brokers:
            first = neighbouring_ports(4)
            use = {"use": "kafka_proxy", "cluster": "up"}
            listener = {"address": f"{HOST}:{first}-{first + 3}"}
            async with proxy(use, upstreams=[brokers.brokers[1].port], listener=listener) as front:
                client = await Client.connect(front.port)
                await client.ask("Metadata", 1, topics=[])
                broker = brokers.brokers[2]
                await broker.stop()
                broker.port = 0
                await broker.start()
                there = await Client.connect(front.port + 3)
                assert await there.ended() == b""  # it is not where it was
                there = await Client.connect(front.port + 3)
                await there.ask("Heartbeat", 4)
                assert broker.names == ["Heartbeat"]
                await there.close()
                await client.close()

    run(main)


def test_versions_are_cut_down_and_denied_apis_hidden_and_refused() -> None:
    async def main() -> None:
        filter = {"deny": ["CreateTopics"]}
        async with cluster(1) as brokers, proxied(brokers, filter=filter) as front:
            client = await Client.connect(front.port)
            offered = {one["api_key"]: one for one in (await client.ask("ApiVersions", 3))["api_keys"]}
            assert offered[1]["max_version"] == 18
            assert 5000 not in offered
            assert 19 not in offered
            client.send("Heartbeat", 4)
            client.send("CreateTopics", 5, topics=[{"name": "t"}])
            assert int.from_bytes((await client.frame())[4:8], "big") == 2
            refused = client.read("CreateTopics", 5, await client.frame())
            assert refused["topics"][0]["error_code"] == 31
            assert brokers.brokers[1].names == ["ApiVersions", "Heartbeat"]
            assert front.value("l4proxy_kafka_proxy_refused_requests_total", cluster="up", api="CreateTopics") == 1
            await client.close()

    run(main)


def test_apis_from_the_future_are_passed_on_when_asked_for() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers, filter={"unknown_apis": "forward"}) as front:
            client = await Client.connect(front.port)
            assert 5000 in {one["api_key"] for one in (await client.ask("ApiVersions", 3))["api_keys"]}
            await client.close()

    run(main)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n", "http"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "tls"),
        (b"\0\0\0\x0a\x12\x34\0\0\0\0\0\1\xff\xff", "unknown_api"),
        (b"\0\0\0\x0a\0\3\0\x63\0\0\0\1\xff\xff", "unsupported_version"),
        (b"\x7f\xff\xff\xff", "oversized_frame"),
    ],
)
def test_what_is_no_kafka_ends_the_connection(sent: bytes, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            client = await Client.connect(front.port)
            client.writer.write(sent)
            assert await client.ended() == b""
            await client.close()
            assert front.value("l4proxy_kafka_proxy_protocol_errors_total", cluster="up", reason=reason) == 1
            assert brokers.brokers[1].asked == []

    with caplog.at_level(logging.WARNING):
        run(main)
    assert any("client:" in record.message for record in caplog.records)


def test_a_broker_that_speaks_nonsense_ends_the_connection() -> None:
    def nonsense(broker: Broker, asked: Asked) -> bytes:
        return response("Heartbeat", 4, 999)

    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            brokers.answers["Heartbeat"] = nonsense
            client = await Client.connect(front.port)
            client.send("Heartbeat", 4)
            assert await client.ended() == b""
            errors = front.value(
                "l4proxy_kafka_proxy_protocol_errors_total", cluster="up", reason="unexpected_response"
            )
            assert errors == 1

    run(main)


def test_a_broker_that_goes_takes_its_clients_with_it() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            brokers.answers["Heartbeat"] = lambda broker, asked: None
            client = await Client.connect(front.port)
            await client.ask("ApiVersions", 3)
            client.send("Heartbeat", 4)
            assert await client.ended() == b""

    run(main)


def test_a_client_that_only_sends_is_not_read_for_ever() -> None:
    """Requests that wait for answers are counted, and beyond a thousand the client waits."""

    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            client = await Client.connect(front.port)
            await client.ask("ApiVersions", 3)
            count = 5000
            for number in range(count):
                client.writer.write(request("Heartbeat", 4, number))
            for number in range(count):
                assert int.from_bytes((await client.frame())[4:8], "big") == number
            await client.close()

    run(main)


def test_who_authenticates_is_known_and_how_it_went() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            outcomes = iter([58, 0])
            brokers.answers["SaslAuthenticate"] = lambda broker, asked: asked.answer(error_code=next(outcomes))
            for outcome in ("failure", "success"):
                client = await Client.connect(front.port)
                await client.ask("ApiVersions", 3, client_software_name="kcat", client_software_version="1.7")
                await client.ask("SaslHandshake", 1, mechanism="PLAIN")
                await client.ask("SaslAuthenticate", 2, auth_bytes=b"\0alice\0secret")
                (connection,) = front.server.listeners[0].connections.values()
                assert connection.state.get("kafka:principal") == ("alice" if outcome == "success" else None)
                assert connection.state["kafka:software"] == "kcat 1.7"
                assert connection.state["kafka:mechanism"] == "PLAIN"
                assert connection.state["kafka:authentication"] == outcome
                assert not [value for value in connection.state.values() if "secret" in str(value)]
                count = front.value("l4proxy_kafka_proxy_authentications_total", cluster="up", outcome=outcome)
                assert count == 1
                await client.close()
                await client.ended()

    run(main)


def test_a_drain_lets_a_connection_finish_what_is_under_way() -> None:
    async def main() -> None:
        async with cluster(1) as brokers, proxied(brokers) as front:
            client = await Client.connect(front.port)
            await client.ask("ApiVersions", 3)
            idle = await Client.connect(front.port)
            await idle.ask("ApiVersions", 3)

            def slow(broker: Broker, one: Asked) -> bytes:
                front.server.begin_drain(close_listeners=False)
                return one.answer()

            brokers.answers["Heartbeat"] = slow
            assert (await client.ask("Heartbeat", 4))["error_code"] == 0
            assert await client.ended() == b""
            assert await idle.ended() == b""
            assert front.value("l4proxy_listener_closed_total", listener="test", reason="drain") == 2

    run(main)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"deny": ["CreateTopic"]}, r"deny\[0\]: there is no API 'CreateTopic' .did you mean 'CreateTopics'"),
        ({"deny": ["Metadata"]}, r"deny\[0\]: no client can do without Metadata"),
        ({"broker_names": "kafka.example"}, "has to have one"),
        ({"broker_names": "b {node}"}, "is not a host name"),
        ({"logins": {"log": {"username": "a", "password": "b"}}}, r"logins\.log: no route leads to a cluster 'log'"),
        ({"broker_ports": {"one": 1}}, "'one' is not the id of a broker"),
        ({"broker_ports": {"1": 1}, "broker_names": "b{node}"}, "not both"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], why: str) -> None:
    async def main() -> None:
        async with proxy({"use": "kafka_proxy", "cluster": "up", **options}, upstreams=[1]):
            raise AssertionError

    with pytest.raises(ConfigError, match=why):
        run(main)
