"""What OpenSSL says is wrong has names, and none of its words are lost."""

from __future__ import annotations

import errno
import ssl
from typing import Any

import pytest

from l4proxy.tls.failures import broken_stream, explain, is_end


def said(reason: str, kind: type[ssl.SSLError] = ssl.SSLError, **more: Any) -> ssl.SSLError:
    error = kind(1, f"[SSL: {reason}] something")
    error.reason = reason
    for name, value in more.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        ("HTTP_REQUEST", "tls_plaintext_http"),
        ("WRONG_VERSION_NUMBER", "tls_plaintext"),
        ("UNSUPPORTED_PROTOCOL", "tls_version"),
        ("NO_SHARED_CIPHER", "tls_no_shared_cipher"),
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "tls_no_certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "tls_alert_unknown_ca"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "tls_alert_bad_certificate"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "tls_alert_certificate_required"),
        ("TLSV1_UNRECOGNIZED_NAME", "tls_alert_unrecognized_name"),
        ("SOMETHING_NEW", "tls_protocol_error"),
        ("", "tls_protocol_error"),
    ],
)
def test_reasons_and_alerts(reason: str, name: str) -> None:
    found, sentence = explain(said(reason), "tls_")
    assert found == name
    assert sentence


def test_an_alert_of_distrust_says_what_that_means() -> None:
    assert explain(said("TLSV1_ALERT_UNKNOWN_CA"), "tls_")[1].endswith("it does not trust our certificate")
    assert "trust" not in explain(said("SSLV3_ALERT_HANDSHAKE_FAILURE"), "tls_")[1]


@pytest.mark.parametrize(
    ("code", "name"), [(10, "expired"), (18, "self_signed"), (62, "wrong_host"), (20, "untrusted")]
)
def test_verification(code: int, name: str) -> None:
    error = said(
        "CERTIFICATE_VERIFY_FAILED", ssl.SSLCertVerificationError, verify_code=code, verify_message="Some Thing."
    )
    assert explain(error, "tls_") == (f"tls_{name}", "some Thing")
    assert explain(error, "tls_client_certificate_")[0] == f"tls_client_certificate_{name}"


def test_a_stream_that_breaks_has_an_error_of_the_system() -> None:
    reset = ConnectionResetError(errno.ECONNRESET, "reset")
    assert broken_stream(reset) is reset
    assert broken_stream(ssl.SSLEOFError(8, "EOF")).errno == errno.ECONNRESET
    alert = broken_stream(said("SSLV3_ALERT_BAD_RECORD_MAC"))
    assert (alert.errno, alert.strerror) == (errno.EPROTO, "TLS: the peer sent the alert 'bad_record_mac'")
    assert broken_stream(said("DECRYPTION_FAILED")).strerror == "TLS: decryption failed"


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (ssl.SSLEOFError(8, "EOF"), True),
        (said("UNEXPECTED_EOF_WHILE_READING"), True),
        (said("DECRYPTION_FAILED"), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
    ],
)
def test_what_is_an_end(error: OSError, end: bool) -> None:
    assert is_end(error) is end
