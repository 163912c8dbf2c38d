"""h2spec, all of it and strictly, against a server made of nothing but the codec."""

from __future__ import annotations

import re
import ssl
import subprocess

import pytest

from http2_server import http2_server
from services.certs import Certs
from services.go import go_program

CASES = 146


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_h2spec(certs: Certs, tls: bool) -> None:
    h2spec = go_program("h2spec")
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = certs.server
        context.load_cert_chain(certificate.cert, certificate.key)
        context.set_alpn_protocols(["h2"])
    with http2_server(context=context) as port:
        argv = [h2spec, "-h", "127.0.0.1", "-p", str(port), "--strict", "-o", "20", *(["-t", "-k"] if tls else [])]
        done = subprocess.run(argv, capture_output=True, text=True)
    summary = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", done.stdout)
    assert summary, done.stdout[-2000:] + done.stderr[-2000:]
    assert summary.groups() == (str(CASES), str(CASES), "0", "0"), done.stdout[done.stdout.find("Failures:") :]
