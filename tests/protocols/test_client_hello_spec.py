from __future__ import annotations

import contextlib
import ssl
from typing import Any

from construct import ConstructError
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.protocols.client_hello import ClientHello, read_client_hello
from l4proxy.protocols.client_hello_spec import record_spec


def real_hello() -> bytes:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="a.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


REAL = real_hello()
SERVER_NAME, ALPN, SUPPORTED_VERSIONS = 0, 16, 43


def declared(data: bytes) -> ClientHello:
    hello = record_spec().parse(data).fragment.hello
    values: dict[int, Any] = {one.type: one.value for one in (hello.extensions or {"items": []})["items"]}
    names = values[SERVER_NAME].names["items"] if SERVER_NAME in values else []
    protocols = values[ALPN].protocols["items"] if ALPN in values else []
    versions = values[SUPPORTED_VERSIONS].versions["items"] if SUPPORTED_VERSIONS in values else [hello.legacy_version]
    return ClientHello(
        names[0].name.decode("latin-1").lower() if names else "",
        tuple(protocol.decode("latin-1") for protocol in protocols),
        tuple(versions),
        0xFE0D in values,
    )


def test_a_real_hello_is_declared_as_it_is_read() -> None:
    assert read_client_hello(REAL) == declared(REAL)
    assert record_spec().build(record_spec().parse(REAL)) == REAL


# Behind the record's length, for the reader does not wait for what comes after the hello; not its version, which the
# declaration takes as it is.
PLACES = st.integers(5, len(REAL) - 1).filter(lambda at: at not in (9, 10))


@given(PLACES, st.integers(0, 0xFF).filter(lambda byte: byte & 0x0F != 0x0A))
def test_what_is_declared_is_what_is_read(at: int, byte: int) -> None:
    damaged = REAL[:at] + bytes([byte]) + REAL[at + 1 :]
    try:
        expected = declared(damaged)
    except ConstructError:
        assert not read_client_hello(damaged)
    else:
        # False: the declaration knows of sizes alone, not of a name that is none or of an extension that comes twice.
        assert read_client_hello(damaged) in (expected, False)
