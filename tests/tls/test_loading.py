"""Files that are wrong: each way has its sentence, which begins with the option at fault."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from l4proxy.config.schema import Certificate as CertificateConfig
from l4proxy.config.schema import ServerTls
from l4proxy.config.types import FilePath, Secret
from l4proxy.tls import ClientTlsContext, ServerTlsContext
from services.certs import Authority, Certs
from tls_peers import client_tls, file


def refusal(cert: Path, key: Path, **options: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the text is what is tested
        ServerTlsContext(ServerTls(file(cert), file(key), **options))
    return str(caught.value)


def encrypted(certs: Certs, path: Path, password: bytes) -> Path:
    key = serialization.load_pem_private_key(certs.server.key.read_bytes(), None)
    lock = serialization.BestAvailableEncryption(password)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return path


def test_files_that_cannot_be_read(certs: Certs, tmp_path: Path) -> None:
    missing = tmp_path / "missing.pem"
    assert refusal(missing, certs.server.key) == f"cert: cannot read {missing}: No such file or directory"
    assert refusal(certs.server.cert, missing) == f"key: cannot read {missing}: No such file or directory"


def test_files_that_are_something_else(certs: Certs, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("hello")
    assert "cert: there is no certificate in" in refusal(certs.server.key, certs.server.key)
    assert refusal(certs.server.cert, certs.server.cert).endswith(": it is a certificate")
    assert refusal(certs.server.cert, other).endswith(": it is not PEM")
    other.write_text("-----BEGIN PRIVATE KEY-----\nhello\n-----END PRIVATE KEY-----\n")
    assert "cannot be read" in refusal(certs.server.cert, other)


def test_a_key_of_another_certificate(certs: Certs) -> None:
    text = refusal(certs.server.cert, certs.client.key)
    assert text.startswith("key: the key in ")
    assert "does not belong to the certificate of CN=server" in text


def test_a_chain_in_the_wrong_order_or_with_a_gap(certs: Certs, authority: Authority, tmp_path: Path) -> None:
    own, ca, stranger = (path.read_text() for path in (certs.server.cert, authority.cert, certs.untrusted.cert))
    chain = tmp_path / "chain.pem"
    chain.write_text(ca + own)
    assert "that of CN=l4proxy test authority is signed by itself" in refusal(chain, certs.server.key)
    chain.write_text(ca)
    assert "which is an authority's: the server's own has to be the first in" in refusal(chain, certs.server.key)
    chain.write_text(own + stranger + ca)
    assert "in the wrong order: that of CN=server has to be followed by that of CN=l4proxy test" in refusal(
        chain, certs.server.key
    )
    chain.write_text(own + stranger)
    assert "is incomplete: that of CN=server has to be followed by" in refusal(chain, certs.server.key)


def test_an_encrypted_key(certs: Certs, tmp_path: Path) -> None:
    key = encrypted(certs, tmp_path / "key.pem", b"open")
    cert = certs.server.cert
    assert refusal(cert, key) == f"password: the key in {key} is encrypted"
    assert refusal(cert, key, password=Secret("wrong")) == f"password: it does not open the key in {key}"
    assert ServerTlsContext(ServerTls(file(cert), file(key), Secret("open"))).certificates()


def test_the_place_among_several_certificates_is_named(certs: Certs) -> None:
    wrong = CertificateConfig(file(certs.client.cert), file(certs.server.key))
    text = refusal(certs.server.cert, certs.server.key, certificates=(wrong,))
    assert text.startswith("certificates[0].key: the key in ")


def test_a_certificate_that_openssl_finds_too_weak(authority: Authority, tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 512 * 2)
    key, cert = tmp_path / "weak.key", tmp_path / "weak.pem"
    pem = serialization.Encoding.PEM
    key.write_bytes(weak.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    cert.write_bytes(authority.sign(weak.public_key()))
    text = refusal(cert, key)
    assert text.startswith("cert: OpenSSL refuses the certificate in ")
    assert text.endswith("ee key too small")


def test_authorities(certs: Certs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^ca: there is no certificate in .*\.key: it is a private key"):
        ClientTlsContext(client_tls(certs.server.key))
    assert refusal(
        certs.server.cert, certs.server.key, client_certificate="required", client_ca=FilePath("/no/file")
    ).startswith("client_ca: cannot read /no/file")
    none: Any = None  # typeshed says that there is always a file
    nothing = ssl.DefaultVerifyPaths(none, none, "", "/no/cert.pem", "", "/no/certs")
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    with pytest.raises(
        ValueError, match=r"^ca: this system trusts no authority \(nothing in /no/cert.pem and /no/certs\)"
    ):
        ClientTlsContext(client_tls())
    ClientTlsContext(client_tls(verify=False))  # trusts anybody


def test_one_that_has_expired_or_does_not_hold_yet_is_served_with_a_warning(
    certs: Certs, caplog: pytest.LogCaptureFixture
) -> None:
    for one, words in ((certs.expired, "has expired on 20"), (certs.not_yet_valid, "begins on 20")):
        ServerTlsContext(ServerTls(file(one.cert), file(one.key)))
        assert words in caplog.messages[-1]
        assert str(one.cert) in caplog.messages[-1]


@pytest.mark.parametrize("alpn", [("",), ("x" * 256,), ("ü",)])
def test_names_of_protocols_that_are_none(certs: Certs, alpn: tuple[str, ...]) -> None:
    assert refusal(certs.server.cert, certs.server.key, alpn=alpn).startswith("alpn: a protocol's name has 1 to 255")


def test_ciphers_that_nobody_knows(certs: Certs) -> None:
    assert refusal(certs.server.cert, certs.server.key, ciphers="NONE-SUCH") == (
        "ciphers: none that OpenSSL knows is in 'NONE-SUCH'"
    )
