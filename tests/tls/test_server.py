"""TLS towards clients: which certificate, which versions, whose certificates are accepted, and what is counted."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
from cryptography import x509

from l4proxy.config.schema import Certificate as CertificateConfig
from l4proxy.config.schema import ServerTls
from l4proxy.config.types import Duration
from l4proxy.filter import TlsInfo
from l4proxy.stats_registry import StatsRegistry
from l4proxy.tls import ServerTlsContext, TlsStats
from services.certs import Authority, Certificate, Certs
from streams import reset, tcp_pair
from tls_peers import End, accepted, client_context, file, server_tls


def certificate_of(context: ServerTlsContext, name: str | None, peer: ssl.SSLContext | None = None) -> list[str]:
    """The names in the certificate that a client is shown who asks for ``name``."""
    with accepted(context, peer or client_context(None), name) as (end, client):
        assert end.failure is None
        der = client.tls.getpeercert(binary_form=True)
        assert der is not None
        extension = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return [str(one.value) for one in extension.value]


def failure(
    context: ServerTlsContext, peer: ssl.SSLContext | None = None, name: str | None = "localhost"
) -> tuple[str, str]:
    with tcp_pair() as (ours, theirs):
        end = End(context, ours)
        tls = (peer or client_context(None)).wrap_socket(theirs, server_hostname=name, do_handshake_on_connect=False)

        def step() -> bool:
            if not end._stream:
                try:
                    tls.do_handshake()
                    tls.recv(1)  # in TLS 1.3 the server may still refuse when the client is done
                except (ssl.SSLWantReadError, ssl.SSLError, OSError):
                    pass
            return bool(end.failure or end._stream)

        end.turn_until(step)
        end.close()
        tls.close()
        assert end.failure is not None
        assert context.stats.handshake_failed_total[end.failure[0]]
        return end.failure


def several(*certificates: Certificate, **options: Any) -> ServerTlsContext:
    configs = tuple(CertificateConfig(file(one.cert), file(one.key)) for one in certificates)
    return ServerTlsContext(ServerTls(certificates=configs, **options))


# Certificates by name


@pytest.fixture(scope="module")
def by_name(certs: Certs, authority: Authority) -> ServerTlsContext:
    exact = authority.issue("exact", ["a.example.test", "also.example.test"])
    return several(certs.server, certs.wildcard, exact)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("localhost", "localhost"),
        ("b.example.test", "*.example.test"),
        ("A.EXAMPLE.test", "a.example.test"),
        ("also.example.test", "a.example.test"),
        ("x.b.example.test", "localhost"),
        ("example.test", "localhost"),
        ("unknown.test", "localhost"),
        (None, "localhost"),
    ],
)
def test_the_server_name_chooses(by_name: ServerTlsContext, asked: str | None, shown: str) -> None:
    assert certificate_of(by_name, asked)[0] == shown


def test_names_of_the_configuration_stand_for_those_of_the_certificate(certs: Certs) -> None:
    own = CertificateConfig(file(certs.client.cert), file(certs.client.key), server_names=("X.test.", "*.y.test"))
    context = ServerTlsContext(server_tls(certs.server, certificates=(own,)))
    for name in ("x.test", "a.y.test"):
        assert certificate_of(context, name)[0] == "client.example.test"
    assert certificate_of(context, "client.example.test")[0] == "localhost"


def test_two_kinds_of_keys_for_one_name(certs: Certs, authority: Authority) -> None:
    rsa = authority.issue("rsa", rsa=True)
    context = several(certs.server, rsa)
    old = client_context(certs.ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")
    assert certificate_of(context, "localhost", old)[0] == "localhost"
    assert certificate_of(context, "localhost")[0] == "localhost"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a.*.test",), r"certificates\[1\]\.server_names: 'a\.\*\.test': \* can only stand for the first label"),
        (("localhost", "127.0.0.1"), "is never chosen|certificates"),
    ],
)
def test_names_that_make_no_sense(certs: Certs, names: tuple[str, ...], words: str) -> None:
    first = CertificateConfig(file(certs.server.cert), file(certs.server.key))
    second = CertificateConfig(file(certs.client.cert), file(certs.client.key), server_names=names)
    if names[0] == "localhost":
        ServerTlsContext(ServerTls(certificates=(first, second)))
    else:
        with pytest.raises(ValueError, match=words):
            ServerTlsContext(ServerTls(certificates=(first, second)))


def test_the_same_names_twice(certs: Certs, authority: Authority) -> None:
    with pytest.raises(ValueError, match=r"^certificates\[1\]\.cert: another certificate has the same names"):
        several(certs.server, authority.issue("twin"))


def test_one_without_a_name_is_only_good_as_the_first(certs: Certs, authority: Authority) -> None:
    nameless = authority.issue("nameless", ["spiffe://example.test/x"])
    assert several(nameless, certs.server).certificates()
    with pytest.raises(ValueError, match=r"^certificates\[1\]\.server_names: no name is in .*nameless\.pem"):
        several(certs.server, nameless)


def test_a_name_can_be_required(certs: Certs) -> None:
    context = ServerTlsContext(server_tls(certs.server, require_sni=True))
    assert certificate_of(context, "localhost")
    assert failure(context, name="unknown.test") == (
        "tls_unknown_name", "the client asked for 'unknown.test', for which there is no certificate",
    )  # fmt: skip
    assert failure(context, name=None) == ("tls_unknown_name", "the client asked for no server name")


# What is agreed on


def test_what_is_known_of_a_connection(certs: Certs) -> None:
    registry = StatsRegistry()
    stats = registry.group(TlsStats, listener="web", cluster="")
    context = ServerTlsContext(server_tls(certs.server, alpn=("h2", "http/1.1")), stats)
    peer = client_context(certs.ca)
    peer.set_alpn_protocols(["http/1.1"])
    with accepted(context, peer) as (end, client):
        cipher = client.tls.cipher()
        assert cipher is not None
        assert end.info == TlsInfo("localhost", "http/1.1", "TLSv1.3", cipher[0])
        assert end.stream.alpn == "http/1.1"
    assert (stats.handshakes_total, stats.handshakes_resumed_total) == (1, 0)
    assert (stats.versions_total.values, stats.ciphers_total.values) == ({"TLSv1.3": 1}, {cipher[0]: 1})
    assert sum(stats.handshake_seconds.counts) == 1
    assert context.under_way == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(certs: Certs, version: ssl.TLSVersion) -> None:
    context = ServerTlsContext(server_tls(certs.server))
    peer = client_context(certs.ca)
    peer.minimum_version = peer.maximum_version = version
    with accepted(context, peer) as (end, client):
        end.stream.write(b"x")
        end.turn_until(lambda: client.receive() == b"x")
        session = client.tls.session
    with tcp_pair() as (ours, theirs):
        end = End(context, ours)
        tls = peer.wrap_socket(theirs, server_hostname="localhost", session=session, do_handshake_on_connect=False)
        end.turn_until(lambda: step(tls) and end._stream)
        assert tls.session_reused
        end.close()
        tls.close()
    assert context.stats.handshakes_resumed_total == 1


def step(tls: ssl.SSLSocket) -> bool:
    try:
        tls.do_handshake()
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return False
    return True


def test_nothing_older_than_asked_for(certs: Certs) -> None:
    context = ServerTlsContext(server_tls(certs.server, min_version="1.3"))
    peer = client_context(certs.ca)
    peer.maximum_version = ssl.TLSVersion.TLSv1_2
    assert failure(context, peer)[0] == "tls_version"


def test_no_common_cipher(certs: Certs) -> None:
    context = ServerTlsContext(server_tls(certs.server, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"))
    peer = client_context(certs.ca)
    peer.maximum_version = ssl.TLSVersion.TLSv1_2
    peer.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    assert failure(context, peer)[0] == "tls_no_shared_cipher"


# Client certificates


def mutual(certs: Certs, **options: Any) -> ServerTlsContext:
    options = {"client_certificate": "required", **options}
    return ServerTlsContext(server_tls(certs.server, client_ca=file(certs.ca), **options))


def test_a_clients_certificate_is_verified_and_known(certs: Certs) -> None:
    with accepted(mutual(certs), client_context(certs.ca, certs.client)) as (end, _):
        assert end.info.peer_subject == "CN=client"
        assert end.info.peer_sans == ("DNS:client.example.test", "URI:spiffe://example.test/client")


@pytest.mark.parametrize(
    ("which", "why"),
    [
        ("expired", "tls_client_certificate_expired"),
        ("not_yet_valid", "tls_client_certificate_not_yet_valid"),
        ("untrusted", "tls_client_certificate_untrusted"),
        (None, "tls_no_certificate"),
    ],
)
def test_clients_that_are_not_accepted(certs: Certs, which: str | None, why: str) -> None:
    peer = client_context(certs.ca, getattr(certs, which) if which else None)
    assert failure(mutual(certs), peer)[0] == why


def test_a_certificate_may_be_optional(certs: Certs) -> None:
    context = mutual(certs, client_certificate="optional")
    with accepted(context, client_context(certs.ca)) as (end, _):
        assert end.info.peer_subject == ""
    assert failure(context, client_context(certs.ca, certs.untrusted))[0] == "tls_client_certificate_untrusted"


@pytest.mark.parametrize("rule", ["client.example.test", "*.example.test", "spiffe://example.test/*"])
def test_names_that_a_client_may_have(certs: Certs, rule: str) -> None:
    with accepted(mutual(certs, client_sans=(rule,)), client_context(certs.ca, certs.client)) as (end, _):
        assert end.failure is None


def test_a_client_with_other_names(certs: Certs) -> None:
    why, message = failure(mutual(certs, client_sans=("other.test",)), client_context(certs.ca, certs.client))
    assert why == "tls_san_mismatch"
    assert "(CN=client)" in message
    assert "DNS:client.example.test, URI:spiffe://example.test/client" in message


def test_rules_that_make_no_sense(certs: Certs) -> None:
    with pytest.raises(ValueError, match=r"^client_sans: 'spiffe://\*'"):
        mutual(certs, client_sans=("spiffe://*",))


# Clients that do not speak TLS, or not at all


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "tls_plaintext_http"),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", "tls_plaintext_http"),
        (b"\0" * 100, "tls_plaintext"),
        (b"SSH-2.0-OpenSSH\r\n", "tls_plaintext"),
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "tls_protocol_error"),
    ],
)
def test_what_is_no_handshake(certs: Certs, sent: bytes, why: str) -> None:
    with tcp_pair() as (ours, theirs):
        end = End(ServerTlsContext(server_tls(certs.server)), ours)
        theirs.send(sent)
        end.shake_hands()
        end.close()
        assert end.failure is not None
        assert end.failure[0] == why
        assert end.failure[1]


@pytest.mark.parametrize("begun", [False, True])
def test_one_that_goes_away_and_one_that_breaks_off(certs: Certs, begun: bool) -> None:
    for leave, why in ((socket.socket.close, "eof"), (reset, "reset")):
        with tcp_pair() as (ours, theirs):
            context = ServerTlsContext(server_tls(certs.server))
            end = End(context, ours)
            if begun:
                theirs.send(b"\x16\x03\x01\x02\x00\x01")
                end.turn_until(lambda end=end: end.handshake._tls)  # type: ignore[misc]
            leave(theirs)
            end.shake_hands()
            end.close()
            assert end.failure is not None
            assert end.failure[0] == why
            assert context.under_way == 0


def test_one_that_says_nothing(certs: Certs) -> None:
    context = ServerTlsContext(server_tls(certs.server, handshake_timeout=Duration(3.0)))
    with tcp_pair() as (ours, _theirs):
        end = End(context, ours)
        assert end.timers.running[0].delay == 3.0
        assert context.under_way == 1
        end.timers.fire()
        assert end.failure == ("tls_handshake_timeout", "the handshake was not done within 3 s")
        assert (context.under_way, ours.fileno()) == (0, -1)
        end.close()


def test_a_handshake_that_is_cancelled_says_nothing(certs: Certs) -> None:
    context = ServerTlsContext(server_tls(certs.server, max_handshakes=1))
    with tcp_pair() as (ours, _theirs):
        end = End(context, ours)
        assert context.full
        end.close()
        end.handshake.cancel()
        assert (context.full, end.failure) == (False, None)
