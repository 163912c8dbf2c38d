"""The scalar types that an option can have: how each is called, read, written, and described in a JSON Schema.

A further type is one more entry. A class of a plugin's own needs none, only a classmethod ``from_config(raw)`` that
raises ValueError, and ``__str__``; the class variables ``shown_as`` ("a host name") and ``example`` (TOML) say how
pages show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from l4proxy.address import Address, AddressRange
from l4proxy.config import types, units
from l4proxy.config.shapes import Scalar

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CLUSTER_NAME", "OWN_CLUSTER_NAME", "SCALARS"]


def _itself(value: Any) -> Any:
    return value


def _finite(raw: float) -> float:
    if not -1e300 < raw < 1e300:
        raise ValueError(f"{raw} is not a number that can be used here")
    return float(raw)


def _file_path(raw: str, folder: Path) -> str:
    if not raw:
        raise ValueError("an empty text is not the name of a file")
    return str(folder / raw)


def _listen_address(raw: str) -> Address | AddressRange:
    return AddressRange.parse(raw) if AddressRange.matches(raw) else Address.parse(raw)


_SIZE = r"[0-9.]+ ?([kKMGT]i?)?B"
SCALARS: dict[Any, Scalar] = {
    Any: Scalar("a value", "", object, _itself, _itself, "..."),
    type(None): Scalar("null", "null", type(None), _itself, _itself),
    str: Scalar("text", "text", str, str, _itself, '"..."'),
    bool: Scalar("true or false", "boolean", bool, _itself, _itself, "true"),
    int: Scalar("a whole number", "integer", int, _itself, _itself, "5"),
    float: Scalar("a number", "integer float", float, _finite, _itself, "0.5"),
    Address: Scalar("an address", "text", Address, Address.parse, str, '"127.0.0.1:8080"', pattern=":"),
    types.ClusterName: Scalar("the name of a cluster", "text", str, str, _itself, '"backend"'),
    types.Duration: Scalar(
        "a duration", "text integer float", float, units.parse_duration, units.format_duration, '"5s"',
        pattern=r"^([0-9.]+(ms|[smhd]))+$", minimum=0, maximum=0,
    ),
    types.FilePath: Scalar("a file name", "text", str, _file_path, _itself, '"cert.pem"', needs_folder=True),
    types.ListenAddress: Scalar(
        "an address", "text", (Address, AddressRange), _listen_address, str, '"127.0.0.1:8080"', pattern=":"
    ),
    types.Network: Scalar(
        "a network", "text", object, units.parse_network, str, '"10.0.0.0/8"', pattern="^[0-9a-fA-F.:/]+$"
    ),
    types.Percent: Scalar(
        "a percentage", "text integer float", float, units.parse_percent, units.format_percent, '"12.5%"',
        pattern="^[0-9.]+%?$", minimum=0, maximum=100,
    ),
    types.OwnClusterName: Scalar("text", "text", str, str, _itself, '"..."'),
    types.PortRange: Scalar(
        "a port or a range of ports", "text integer", types.PortRange, types.PortRange.from_config, str, '"8000-8999"',
        pattern="^[0-9]+(-[0-9]+)?$", minimum=0, maximum=65535,
    ),
    types.Rate: Scalar("a rate", "text", int, units.parse_rate, units.format_rate, '"10MiB/s"', pattern=f"^{_SIZE}/s$"),
    types.Secret: Scalar(
        "a secret", "text table", types.Secret, types.Secret.read, repr, '{ env = "TOKEN" }', needs_folder=True,
        properties={"file": {"type": "string"}, "env": {"type": "string"}}, minProperties=1, maxProperties=1,
        additionalProperties=False,
    ),
    types.Size: Scalar(
        "a size", "text integer", int, units.parse_size, units.format_size, '"64KiB"', pattern=f"^{_SIZE}$", minimum=0
    ),
}  # fmt: skip

CLUSTER_NAME, OWN_CLUSTER_NAME = SCALARS[types.ClusterName], SCALARS[types.OwnClusterName]
