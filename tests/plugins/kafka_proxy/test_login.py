"""The proxy logs in where it asks brokers itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from clusters import run
from kafka_broker import Cluster, cluster
from kafka_messages import request
from l4proxy.config.types import Secret
from l4proxy.plugins.kafka_proxy.asking import Lines, NoAnswer
from l4proxy.plugins.kafka_proxy.login import KafkaLogin
from proxying import proxy

QUESTION = request("Heartbeat", 4, 7)
LOGIN = KafkaLogin("alice", Secret("secret"), "PLAIN")


async def asked(brokers: Cluster, login: KafkaLogin, timeout: float = 5) -> bytes:
    async with proxy({"use": "tcp_proxy", "cluster": "up"}, upstreams=brokers.bootstrap) as front:
        lines = Lines(front.server.clusters.find("up"), login)
        try:
            await lines.ask(QUESTION, 10_000, timeout)
            return await lines.ask(QUESTION, 10_000, timeout)
        finally:
            lines.close()


def told(handshake: dict[str, Any], *answers: dict[str, Any], login: KafkaLogin = LOGIN) -> list[str]:
    """What brokers are asked that give these answers."""

    names: list[str] = []

    async def main() -> None:
        async with cluster(1) as brokers:
            left = list(answers)
            brokers.answers["SaslHandshake"] = lambda broker, one: one.answer(**handshake)
            brokers.answers["SaslAuthenticate"] = lambda broker, one: one.answer(**left.pop(0)) if left else None
            answer = await asyncio.wait_for(asked(brokers, login), 20)
            assert answer[:4] == b"\0\0\0\7"
            names.extend(brokers.brokers[1].names)

    run(main)
    return names


def test_it_is_asked_for_once_in_a_connection() -> None:
    assert told({}, {}) == ["SaslHandshake", "SaslAuthenticate", "Heartbeat", "Heartbeat"]


def test_a_mechanism_that_brokers_do_not_take() -> None:
    with pytest.raises(NoAnswer, match="lets nobody in: it takes no PLAIN, but SCRAM-SHA-512, GSSAPI"):
        told({"error_code": 33, "mechanisms": ["SCRAM-SHA-512", "GSSAPI"]})


def test_a_password_that_is_wrong() -> None:
    with pytest.raises(NoAnswer, match="it does not take 'alice': Authentication failed") as caught:
        told({}, {"error_code": 58, "error_message": "Authentication failed"})
    assert "secret" not in str(caught.value)


def test_a_broker_that_only_pretends_to_know_the_password() -> None:
    with pytest.raises(NoAnswer, match="SCRAM is wrong"):
        told({}, {"auth_bytes": b"r=x,s=eA==,i=4096"}, login=KafkaLogin("alice", Secret("secret")))


def test_a_broker_that_hangs_up() -> None:
    with pytest.raises(NoAnswer, match="the connection was closed"):
        told({})
