"""The words of a configuration: durations, sizes, rates, secrets, port ranges, uses of plugins.

Each is written as text that says its unit (``units`` reads and writes it), and refuses what does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType

from l4proxy.errors import cannot_read
from l4proxy.registry import Kind

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from l4proxy.address import Address, AddressRange

__all__ = [
    "ClusterName",
    "Duration",
    "FilePath",
    "ListenAddress",
    "MatchTable",
    "Network",
    "OwnClusterName",
    "Percent",
    "Plugin",
    "PortRange",
    "Range",
    "Rate",
    "Secret",
    "Size",
    "Use",
    "UseAccessLogger",
    "UseDiscovery",
    "UseFilter",
    "UseHealthCheck",
    "UseLoadBalancer",
    "UsePreamble",
    "UseStatsSink",
]

Duration = NewType("Duration", float)
"""Seconds; written ``"250ms"``, ``"5s"``, ``"1m30s"``, ``"2h"``, ``"1d"``, or 0."""
Size = NewType("Size", int)
"""Bytes; written ``"64KiB"``, ``"10MB"``, ``"512B"``, or a number of bytes."""
Rate = NewType("Rate", int)
"""Bytes per second; written ``"10MiB/s"``."""
Percent = NewType("Percent", float)
"""0 to 100; written ``"12.5%"`` or as a number."""
FilePath = NewType("FilePath", str)
"""A file; in a configuration file relative to that file's folder, after loading ready to be opened."""
ClusterName = NewType("ClusterName", str)
"""The name of a cluster; that it exists is checked when the configuration is loaded, also in a plugin's options."""
OwnClusterName = NewType("OwnClusterName", str)
"""What a plugin calls a cluster that it makes for itself; options may name it like those of the configuration."""

if TYPE_CHECKING:
    ListenAddress = Address | AddressRange
    Network = IPv4Network | IPv6Network
else:
    ListenAddress = NewType("ListenAddress", object)
    Network = NewType("Network", object)  # ipaddress is imported when there is a network to read


class Range(NamedTuple):
    """Bounds of a number, both included: ``Annotated[int, Range(1, 10)]``, ``Annotated[Duration, Range(max=60)]``."""

    min: float | None = None
    max: float | None = None


class Plugin(NamedTuple):
    """Which plugins a ``Use`` may name: ``Annotated[Use, Plugin(Kind.MESSAGE_FILTER, "http")]``."""

    kind: Kind
    protocol: str | None = None

    @property
    def can_bypass(self) -> bool:
        """Whether a use says ``on_error``: what has callbacks for the bytes or messages of a connection does."""
        return self.kind in (Kind.FILTER, Kind.MESSAGE_FILTER)


@dataclass(frozen=True, slots=True)
class Use:
    """A plugin at its place in the configuration: ``{ use = "NAME", ...its options }``, or ``"NAME"`` alone.

    ``cls`` and ``config`` are the registered class and an instance of its options. Before loading, in a default or in
    a configuration written in Python, ``cls`` is None and ``config`` may also be None or a mapping:
    ``Use("tcp_proxy", {"cluster": "db"})``.
    """

    name: str
    config: Any = None
    on_error: Literal["close", "bypass"] = "close"
    """Of filters: when a callback raises, close the connection, or take the filter out of its chain."""
    cls: Any = None
    path: str = field(default="", compare=False)
    """Where it stands (``listeners[0].filters[1]``), for errors that are found later."""


UseFilter = Annotated[Use, Plugin(Kind.FILTER)]
UsePreamble = Annotated[Use, Plugin(Kind.PREAMBLE)]
UseLoadBalancer = Annotated[Use, Plugin(Kind.LOAD_BALANCER)]
UseHealthCheck = Annotated[Use, Plugin(Kind.HEALTH_CHECK)]
UseDiscovery = Annotated[Use, Plugin(Kind.DISCOVERY)]
UseAccessLogger = Annotated[Use, Plugin(Kind.ACCESS_LOGGER)]
UseStatsSink = Annotated[Use, Plugin(Kind.STATS_SINK)]
MatchTable = Annotated[tuple[Use, ...], Plugin(Kind.MATCHER)]
"""``match = { sni = ["a.test"], source = ["10.0.0.0/8"] }``: matchers by name, with options. All have to say yes."""


class Secret:
    """A password, token or key. ``repr``, logs and dumps show ``****``; only ``reveal()`` gives the text.

    Written as plain text, ``{ file = "/run/secrets/token" }`` or ``{ env = "TOKEN" }``. Secrets compare in constant
    time.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        from hmac import compare_digest

        return compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "****"

    @classmethod
    def read(cls, raw: object, folder: Path) -> Secret:
        """Read a secret as configured; a file's path is relative to ``folder``. Raises ValueError."""
        match raw:
            case str():
                text, whence = raw, "the secret"
            case {"file": str(name), **rest} if not rest:
                text, whence = _read_secret(folder / name), f"the file {name}"
            case {"env": str(name), **rest} if not rest:
                from os import environ

                if name not in environ:
                    raise ValueError(f"the environment variable {name} is not set")
                text, whence = environ[name], f"the environment variable {name}"
            case _:
                raise ValueError('a secret is text, { file = "/run/secrets/token" } or { env = "TOKEN" }')
        if not text:
            raise ValueError(f"{whence} is empty")
        return cls(text)


def _read_secret(path: Path) -> str:
    try:
        return path.read_text().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(cannot_read(path, error)) from None


@dataclass(frozen=True, slots=True)
class PortRange:
    """Ports ``first`` to ``last``, both included; written ``"8000-8999"``, ``"80"`` or 80. ``port in range`` asks."""

    first: int
    last: int

    @classmethod
    def from_config(cls, raw: object) -> PortRange:
        found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", str(raw)) if type(raw) in (str, int) else None
        if not found:
            raise ValueError(f'{raw!r} is not a port or a range of ports (write 443 or "8000-8999")')
        first = int(found[1])
        last = int(found[2] or first)
        if last > 65535:
            raise ValueError(f"{last} is not a port (0 to 65535)")
        if first > last:
            raise ValueError(f'{raw!r} runs backwards (write "{last}-{first}")')
        return cls(first, last)

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"
