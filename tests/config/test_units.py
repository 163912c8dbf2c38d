from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.config.types import Network
from l4proxy.config.units import (
    format_duration,
    format_percent,
    format_rate,
    format_size,
    parse_duration,
    parse_network,
    parse_percent,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("5s", 5),
        ("1.5s", 1.5),
        ("1m30s", 90),
        ("2h", 7200),
        ("1d", 86400),
        ("1d2h3m4s5ms", 93784.005),
        ("0s", 0),
        (0, 0),
        (0.0, 0),
    ],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "5 s", "5S", "5sec", "-5s", "1s1m", "5s5s", "5m 5s", "1e3s", ".5s", "\u0665s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(("raw", "hint"), [(5, 'write "5s"'), (0.5, 'write "0.5s"'), ("30", 'write "30s"')])
def test_a_duration_needs_a_unit(raw: str | float, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse_duration(raw)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "250ms"),
        (0.0005, "0.5ms"),
        (1.5, "1.5s"),
        (60, "1m"),
        (90, "1m30s"),
        (3600, "1h"),
        (90000, "1d1h"),
    ],
)
def test_durations_as_text(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**12))
def test_durations_survive_being_written(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64KiB", 65536), ("1MiB", 1 << 20), ("2GiB", 2 << 30), ("10MB", 10**7), ("1kB", 1000), ("1KB", 1000),
     ("512B", 512), ("1.5KiB", 1536), ("1 MiB", 1 << 20), (4096, 4096), (0, 0)],
)  # fmt: skip
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "KiB", "64", "64K", "64kiB", "64KIB", "-1B", "1PiB", "1 M", "64KiB/s"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_sizes_survive_being_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_rates() -> None:
    assert parse_rate("10MiB/s") == 10 << 20
    assert format_rate(10 << 20) == "10MiB/s"
    for text in ("10MiB", "10MiB/m", "10/s", "/s", ""):
        with pytest.raises(ValueError, match="is not a rate"):
            parse_rate(text)


def test_percentages() -> None:
    assert parse_percent("12.5%") == parse_percent(12.5) == parse_percent("12.5") == 12.5
    assert format_percent(12.5) == "12.5%"
    assert format_percent(100) == "100%"
    for wrong in ("101%", -1, 100.1, "nan%", "half", "%", ""):
        with pytest.raises(ValueError, match="is not a percentage"):
            parse_percent(wrong)


def test_networks() -> None:
    assert parse_network("10.0.0.0/8") == IPv4Network("10.0.0.0/8")
    assert parse_network("192.0.2.1") == IPv4Network("192.0.2.1/32")
    assert parse_network("2001:db8::/32") == IPv6Network("2001:db8::/32")
    with pytest.raises(ValueError, match=r'write "10.0.0.0/8"'):
        parse_network("10.0.0.1/8")
    for wrong in ("", "10.0.0", "example.com", "10.0.0.0/33", "::/129"):
        with pytest.raises(ValueError, match="is not a network"):
            parse_network(wrong)


def test_a_network_is_a_network_to_type_checkers() -> None:
    def prefix(network: Network) -> int:
        return network.prefixlen

    assert prefix(parse_network("10.0.0.0/8")) == 8
