from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l4proxy.config.types import (
    Network,
    PortRange,
    Secret,
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

NO_FOLDER = Path()


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


def test_port_ranges() -> None:
    assert PortRange.from_config("8000-8999") == PortRange(8000, 8999)
    assert PortRange.from_config(80) == PortRange.from_config("80") == PortRange(80, 80)
    ports = PortRange(8000, 8002)
    assert [port for port in range(7999, 8005) if port in ports] == [8000, 8001, 8002]
    assert [str(PortRange(1, 1)), str(PortRange(1, 2))] == ["1", "1-2"]
    for wrong in ("", "80-", "-80", "http", "1-2-3", 80.0, True, None, -1, "99999", "2-1"):
        with pytest.raises(ValueError, match=r"port|backwards"):
            PortRange.from_config(wrong)


def test_a_secret_shows_itself_only_when_asked(tmp_path: Path) -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "hunter2"


def test_secrets_are_compared_by_what_they_hold() -> None:
    assert Secret("geheim: ü") == Secret("geheim: ü")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_where_secrets_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("TOKEN", "from the environment")
    assert Secret.read("plain", NO_FOLDER).reveal() == "plain"
    assert Secret.read({"file": "token"}, tmp_path).reveal() == "from a file"
    assert Secret.read({"file": str(tmp_path / "token")}, NO_FOLDER).reveal() == "from a file"
    assert Secret.read({"env": "TOKEN"}, NO_FOLDER).reveal() == "from the environment"


def test_secret_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_bytes(b"\n")
    for name, cause in (
        ("binary", "not UTF-8 text"),
        ("empty", "is empty"),
        ("missing", "No such file"),
        (".", "director"),
    ):
        with pytest.raises(ValueError, match=cause):
            Secret.read({"file": name}, tmp_path)


def test_a_network_is_a_network_to_type_checkers() -> None:
    def prefix(network: Network) -> int:
        return network.prefixlen

    assert prefix(parse_network("10.0.0.0/8")) == 8
