"""TLS towards endpoints: whom we trust, what we ask for, and sessions that are resumed."""

from __future__ import annotations

import contextlib
import socket
import ssl
from typing import Any

import pytest

from l4proxy.config.types import Duration
from l4proxy.stats_registry import StatsRegistry
from l4proxy.tls import ClientTlsContext, TlsStats
from services.certs import Certificate, Certs
from streams import reset, tcp_pair
from tls_peers import End, client_tls, connected, server_context


def trusting(certs: Certs, **options: Any) -> ClientTlsContext:
    return ClientTlsContext(client_tls(certs.ca, **options))


def failure(context: ClientTlsContext, server: ssl.SSLContext, hostname: str = "localhost") -> tuple[str, str]:
    with tcp_pair() as (ours, theirs):
        end = End(context, ours, hostname)
        tls = server.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)

        def step() -> bool:
            with contextlib.suppress(OSError):
                tls.do_handshake()
            return bool(end.failure or end._stream)

        end.turn_until(step)
        end.close()
        tls.close()
        assert end.failure is not None
        assert context.stats.handshake_failed_total[end.failure[0]]
        assert context.under_way == 0
        return end.failure


# Whom we trust


@pytest.mark.parametrize("hostname", ["localhost", "LOCALHOST.", ""])
def test_an_endpoint_with_the_right_name(certs: Certs, hostname: str) -> None:
    """Without a host name, the certificate has to be for the address."""
    with connected(trusting(certs), server_context(certs.server), hostname) as (end, _):
        assert end.info.server_name == (hostname.rstrip(".") or "127.0.0.1")
        assert end.info.version == "TLSv1.3"


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("expired", "tls_expired"),
        ("not_yet_valid", "tls_not_yet_valid"),
        ("wrong_host", "tls_wrong_host"),
        ("untrusted", "tls_untrusted"),
    ],
)
def test_endpoints_that_are_not_trusted(certs: Certs, which: str, why: str) -> None:
    certificate: Certificate = getattr(certs, which)
    assert failure(trusting(certs), server_context(certificate))[0] == why
    with connected(ClientTlsContext(client_tls(verify=False)), server_context(certificate)) as (end, _):
        assert end.failure is None


def test_a_name_of_the_configuration_stands_for_the_endpoints(certs: Certs) -> None:
    context = trusting(certs, server_name="a.example.test")
    asked: list[str | None] = []
    server = server_context(certs.wildcard)
    server.sni_callback = lambda _sock, name, _context: asked.append(name)
    with connected(context, server, "elsewhere") as (end, _):
        assert end.info.server_name == "a.example.test"
    assert asked == ["a.example.test"]
    assert failure(context, server_context(certs.server))[0] == "tls_wrong_host"


@pytest.mark.parametrize("rule", ["elsewhere.example.test", "*.example.test"])
def test_other_names_in_the_place_of_the_server_name(certs: Certs, rule: str) -> None:
    with connected(trusting(certs, sans=(rule,)), server_context(certs.wrong_host)) as (end, _):
        assert end.failure is None
    why, message = failure(trusting(certs, sans=(rule,)), server_context(certs.server))
    assert why == "tls_san_mismatch"
    assert "DNS:localhost, IP Address:127.0.0.1, IP Address:::1" in message
    assert failure(trusting(certs, sans=(rule,)), server_context(certs.untrusted))[0] == "tls_untrusted"


def test_rules_and_names_that_make_no_sense(certs: Certs) -> None:
    with pytest.raises(ValueError, match=r"^sans: 'a\.\*'"):
        trusting(certs, sans=("a.*",))
    with pytest.raises(ValueError, match=r"^server_name: '\.a\.test' is no host name"):
        trusting(certs, server_name=".a.test")


@pytest.mark.parametrize("hostname", [".a.test", "a" * 64 + ".test"])
def test_an_endpoint_whose_name_is_none(certs: Certs, hostname: str) -> None:
    assert failure(trusting(certs), server_context(certs.server), hostname)[0] == "tls_bad_server_name"


def test_a_unix_socket_has_no_name_of_its_own(certs: Certs) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        end = End(trusting(certs), ours, "")
        end.shake_hands()
        end.close()
        assert end.failure is not None
        assert end.failure[0] == "tls_no_server_name"


# What we show and agree on


def test_our_own_certificate(certs: Certs) -> None:
    context = trusting(certs, certificate=certs.client)
    assert [one.common_name for one in context.certificates()] == ["client"]
    with connected(context, server_context(certs.server, certs.ca)) as (end, peer):
        end.stream.write(b"x")
        end.turn_until(lambda: peer.receive() == b"x")
        shown = peer.tls.getpeercert()
        assert shown is not None
        assert (("commonName", "client"),) in shown["subject"]


def test_an_endpoint_that_asks_for_a_certificate_in_vain(certs: Certs) -> None:
    """In TLS 1.3 the client is done before the server has looked at what it was shown."""
    server = server_context(certs.server, certs.ca)
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    why, message = failure(trusting(certs), server)
    assert why == "tls_alert_handshake_failure"
    assert "the peer ended the handshake" in message


def test_protocols_and_versions(certs: Certs) -> None:
    registry = StatsRegistry()
    stats = registry.group(TlsStats, listener="", cluster="c")
    context = ClientTlsContext(client_tls(certs.ca, alpn=("h2", "http/1.1"), min_version="1.3"), stats)
    server = server_context(certs.server)
    server.set_alpn_protocols(["http/1.1"])
    with connected(context, server) as (end, _):
        assert (end.info.alpn, end.stream.alpn) == ("http/1.1", "http/1.1")
    assert (stats.handshakes_total, stats.versions_total.values) == (1, {"TLSv1.3": 1})
    server.maximum_version = ssl.TLSVersion.TLSv1_2
    assert failure(context, server)[0] == "tls_alert_protocol_version"


# Sessions


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_at_the_same_address(certs: Certs, version: ssl.TLSVersion) -> None:
    context = trusting(certs)
    server = server_context(certs.server)
    server.minimum_version = server.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for expected in (0, 1, 2):
            with socket.create_connection(listening.getsockname()) as ours, listening.accept()[0] as theirs:
                end = End(context, ours)
                tls = server.wrap_socket(theirs, server_side=True, do_handshake_on_connect=False)
                tls.setblocking(False)
                end.turn_until(lambda tls=tls, end=end: step(tls) and end._stream)  # type: ignore[misc]
                tls.send(b"x")
                end.turn_until(lambda end=end: end.data)  # type: ignore[misc]
                assert context.stats.handshakes_resumed_total == expected
                end.close()
                tls.close()


def step(tls: ssl.SSLSocket) -> bool:
    try:
        tls.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


# Endpoints that do not speak TLS, or not at all


def test_an_endpoint_that_speaks_something_else(certs: Certs) -> None:
    with tcp_pair() as (ours, theirs):
        end = End(trusting(certs), ours)
        theirs.send(b"220 mail.test ESMTP\r\n")
        end.shake_hands()
        end.close()
        assert end.failure == ("tls_plaintext", "the peer does not speak TLS")


@pytest.mark.parametrize(("leave", "why"), [(socket.socket.close, "eof"), (reset, "reset")])
def test_an_endpoint_that_hangs_up(certs: Certs, leave: Any, why: str) -> None:
    with tcp_pair() as (ours, theirs):
        end = End(trusting(certs), ours)
        end.turn_until(lambda: end.handshake._tls)
        if why == "eof":
            theirs.setblocking(True)
            theirs.recv(10_000)
        leave(theirs)
        end.shake_hands()
        end.close()
        assert end.failure is not None
        assert end.failure[0] == why


def test_an_endpoint_that_says_nothing(certs: Certs) -> None:
    with tcp_pair() as (ours, _theirs):
        end = End(trusting(certs, handshake_timeout=Duration(2.0)), ours)
        end.turn_until(lambda: end.handshake._tls)
        end.timers.fire()
        assert end.failure == ("tls_handshake_timeout", "the handshake was not done within 2 s")
        end.close()
