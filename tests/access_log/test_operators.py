from __future__ import annotations

import os
import runpy
import socket
from typing import Any

import pytest

from l4proxy.access_log import operators
from l4proxy.access_log.operator_table import OperatorTable
from l4proxy.access_log.record import AccessRecord
from l4proxy.filter import Peer
from l4proxy.reason import CloseReason
from records import REFUSED, bare, record

# A table of its own, for protocols add to the one that is at work when their plugins are imported.
OPERATORS: OperatorTable = runpy.run_path(operators.__file__)["OPERATORS"]

FULL = {
    "START_TIME": "2026-01-02T03:03:04.678Z",
    "EMIT_TIME": "2026-01-02T03:03:05.913Z",
    "DURATION": 1234,
    "DOWNSTREAM_HANDSHAKE_DURATION": 12,
    "UPSTREAM_CONNECTION_POOL_READY_DURATION": 3,
    "BYTES_RECEIVED": 120,
    "BYTES_SENT": 4096,
    "DOWNSTREAM_WIRE_BYTES_RECEIVED": 120,
    "DOWNSTREAM_WIRE_BYTES_SENT": 4096,
    "UPSTREAM_WIRE_BYTES_RECEIVED": 4100,
    "UPSTREAM_WIRE_BYTES_SENT": 118,
    "DOWNSTREAM_REMOTE_ADDRESS": "203.0.113.9:50000",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "203.0.113.9",
    "DOWNSTREAM_REMOTE_PORT": 50000,
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "10.0.0.9:40000",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": "10.0.0.9",
    "DOWNSTREAM_DIRECT_REMOTE_PORT": 40000,
    "DOWNSTREAM_LOCAL_ADDRESS": "192.0.2.1:443",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": "192.0.2.1",
    "DOWNSTREAM_LOCAL_PORT": 443,
    "UPSTREAM_HOST": "10.1.0.5:5432",
    "UPSTREAM_HOST_NAME": "db1:5432",
    "UPSTREAM_REMOTE_ADDRESS": "10.1.0.5:5432",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": "10.1.0.5",
    "UPSTREAM_REMOTE_PORT": 5432,
    "UPSTREAM_LOCAL_ADDRESS": "10.1.0.1:41000",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": "10.1.0.1",
    "UPSTREAM_LOCAL_PORT": 41000,
    "LISTENER_NAME": "web",
    "FILTER_CHAIN_NAME": "main",
    "UPSTREAM_CLUSTER": "db",
    "UPSTREAM_CLUSTER_RAW": "db",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": 2,
    "PROTOCOL": "tls",
    "CONNECTION_ID": 7,
    "ACCESS_LOG_TYPE": "TcpConnectionEnd",
    "RESPONSE_FLAGS": None,
    "RESPONSE_FLAGS_LONG": None,
    "CONNECTION_TERMINATION_DETAILS": "client:eof",
    "CLOSE_REASON": "client:eof phase=relay",
    "UPSTREAM_TRANSPORT_FAILURE_REASON": None,
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": None,
    "REQUESTED_SERVER_NAME": "db.test",
    "DOWNSTREAM_TLS_VERSION": "TLSv1.3",
    "DOWNSTREAM_TLS_CIPHER": "TLS_AES_256_GCM_SHA384",
    "DOWNSTREAM_PEER_SUBJECT": "CN=ann",
    "DOWNSTREAM_PEER_URI_SAN": "spiffe://t/ann",
    "DOWNSTREAM_PEER_DNS_SAN": "ann.test,b.test",
    "DOWNSTREAM_PEER_IP_SAN": None,
    "DOWNSTREAM_ALPN": "postgresql",
    "HOSTNAME": socket.gethostname(),
}
"""What the full record of ``records`` prints. START_TIME_LOCAL depends on where the tests run."""

KNOWN_WITHOUT_ANYTHING = {
    "START_TIME", "START_TIME_LOCAL", "EMIT_TIME", "DURATION", "HOSTNAME", "LISTENER_NAME", "ACCESS_LOG_TYPE",
    "CLOSE_REASON", "BYTES_RECEIVED", "BYTES_SENT", "DOWNSTREAM_WIRE_BYTES_RECEIVED", "DOWNSTREAM_WIRE_BYTES_SENT",
    "UPSTREAM_WIRE_BYTES_RECEIVED", "UPSTREAM_WIRE_BYTES_SENT", "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "CONNECTION_TERMINATION_DETAILS", "DOWNSTREAM_REMOTE_ADDRESS",
}  # fmt: skip


def read(operator: str, of: AccessRecord, argument: str | None = None) -> Any:
    return OPERATORS.reader(operator, argument)(of)


@pytest.mark.parametrize("name", FULL)
def test_what_an_operator_prints(name: str) -> None:
    assert read(name, record()) == FULL[name]


def test_every_operator_is_tried_and_explained() -> None:
    assert {one.name for one in OPERATORS if one.argument != "required"} == FULL.keys() | {"START_TIME_LOCAL"}
    assert all(one.meaning.endswith((".", ")")) or "..." in one.meaning for one in OPERATORS)


@pytest.mark.parametrize("name", [one.name for one in OPERATORS if one.argument != "required"])
def test_what_there_is_not_is_none(name: str) -> None:
    assert (read(name, bare()) is None) == (name not in KNOWN_WITHOUT_ANYTHING)


def test_ipv6_addresses_have_brackets() -> None:
    client, upstream = Peer("2001:db8::1", 9, "2001:db8::2", 8), Peer("::5", 6, "::4", 3)
    one = record(client=client, direct_client=("::1", 7), upstream=upstream)
    assert read("DOWNSTREAM_REMOTE_ADDRESS", one) == "[2001:db8::1]:9"
    assert read("DOWNSTREAM_LOCAL_ADDRESS", one) == "[2001:db8::2]:8"
    assert read("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", one) == "[::1]:7"
    assert read("UPSTREAM_HOST", one) == "[::5]:6"
    assert read("UPSTREAM_LOCAL_ADDRESS", one) == "[::4]:3"


def test_an_upstream_that_was_not_reached_is_named() -> None:
    assert read("UPSTREAM_HOST", record(upstream=None)) == "db1:5432"
    assert read("UPSTREAM_REMOTE_ADDRESS", record(upstream=None)) is None


def test_flags_and_failures() -> None:
    failed = record(reason=REFUSED)
    assert read("RESPONSE_FLAGS", failed) == "UF,URX"
    assert read("RESPONSE_FLAGS_LONG", failed) == "UpstreamConnectionFailure,UpstreamRetryLimitExceeded"
    assert read("UPSTREAM_TRANSPORT_FAILURE_REASON", failed) == "refused"
    assert read("DOWNSTREAM_TRANSPORT_FAILURE_REASON", failed) is None
    handshake = record(reason=CloseReason("client", "tls_handshake", "tls_protocol"))
    assert read("DOWNSTREAM_TRANSPORT_FAILURE_REASON", handshake) == "tls_protocol"


def test_a_flag_of_a_plugin_has_no_long_name() -> None:
    assert read("RESPONSE_FLAGS_LONG", record(reason=CloseReason("filter", "relay", "x", flags=("UH", "MINE")))) == (
        "NoHealthyUpstream,MINE"
    )


def test_parts_of_the_reason() -> None:
    failed = record(reason=CloseReason("filter", "relay", "filter_error", "censor", 32, message="boom"))
    parts = [read("CLOSE_REASON", failed, part) for part in ("who", "phase", "detail", "filter", "errno", "message")]
    assert parts == ["filter", "relay", "filter_error", "censor", 32, "boom"]
    assert read("CONNECTION_TERMINATION_DETAILS", failed) == "filter:filter_error:censor"
    assert read("CLOSE_REASON", record(), "errno") is None
    with pytest.raises(ValueError, match=r"unknown part 'phrase' \(did you mean 'phase'\?\)"):
        OPERATORS.reader("CLOSE_REASON", "phrase")


def test_times_take_a_form() -> None:
    assert read("START_TIME", record(), "%Y/%m/%d %s") == "2026/01/02 1767322984"
    assert read("EMIT_TIME", record(), "%S.%1f") == "05.9"


def test_state_of_filters() -> None:
    assert read("FILTER_STATE", record(), "sniff:user") == "ann"
    assert read("FILTER_STATE", record(), "sniff:query") == {"kind": "select", "rows": 3}
    assert read("FILTER_STATE", record(), "nothing") is None


def test_metadata_leads_into_mappings() -> None:
    assert read("DYNAMIC_METADATA", record(), "sniff:user") == "ann"
    assert read("DYNAMIC_METADATA", record(), "sniff:query:rows") == 3
    assert read("DYNAMIC_METADATA", record(), "sniff:query:rows:more") is None
    assert read("DYNAMIC_METADATA", record(), "sniff:none:rows") is None
    for path in ("sniff", "sniff:", ":user"):
        with pytest.raises(ValueError, match="write namespace:key"):
            OPERATORS.reader("DYNAMIC_METADATA", path)


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "north")
    assert read("ENVIRONMENT", record(), "REGION") == "north"
    assert "NOT_THERE_AT_ALL" not in os.environ
    assert read("ENVIRONMENT", record(), "NOT_THERE_AT_ALL") is None
