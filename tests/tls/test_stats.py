"""When certificates expire, as gauges that come and go with the certificates."""

from __future__ import annotations

from l4proxy.stats_registry import StatsRegistry
from l4proxy.tls import Certificate, Expiry
from l4proxy.tls.certificate import read_certificates
from services.certs import Certs


def shown(registry: StatsRegistry) -> dict[str, object]:
    samples = registry.snapshot()["l4proxy_certificate_expiration_seconds"]["samples"]
    return {sample["labels"][0]: sample["value"] for sample in samples}


def test_a_gauge_for_each_certificate_that_is_presented(certs: Certs) -> None:
    server, client = (read_certificates(str(one.cert))[0] for one in (certs.server, certs.client))
    registry = StatsRegistry()
    expiry = Expiry(registry)

    def after(*certificates: Certificate) -> dict[str, object]:
        expiry.show(certificates)
        return shown(registry)

    assert after(server, client, server) == {server.path: server.not_after, client.path: client.not_after}
    assert after(client) == {client.path: client.not_after}
    assert after() == {}
