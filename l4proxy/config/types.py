"""The words of a configuration: durations, sizes, rates, secrets, port ranges, uses of plugins.

Each is written as text that says its unit, and refuses what does not. What parses text raises ValueError with the
reason and an example; where it stands in the configuration is added by ``structure``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType

from l4proxy.registry import Kind

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

__all__ = [
    "ClusterName",
    "Duration",
    "FilePath",
    "MatchTable",
    "Network",
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
    "UseLoadBalancer",
    "UsePreamble",
    "UseStatsSink",
    "format_duration",
    "format_percent",
    "format_rate",
    "format_size",
    "parse_duration",
    "parse_network",
    "parse_percent",
    "parse_rate",
    "parse_size",
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

if TYPE_CHECKING:
    Network = IPv4Network | IPv6Network
else:
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
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}") from None


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


_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_BYTES = {
    "TiB": 1 << 40,
    "TB": 10**12,
    "GiB": 1 << 30,
    "GB": 10**9,
    "MiB": 1 << 20,
    "MB": 10**6,
    "KiB": 1024,
    "kB": 1000,
    "B": 1,
}
_DURATION = r"([0-9]+(?:\.[0-9]+)?)(ms|[smhd])"  # compiled when first used: most defaults need no parsing
_SIZE = r"([0-9]+(?:\.[0-9]+)?) ?([KkMGT]i?B|B)"


def parse_duration(raw: str | float) -> Duration:
    if raw == 0:
        return Duration(0.0)
    if not isinstance(raw, str) or raw.isdigit():
        raise ValueError(f'a duration says its unit (write "{raw}s")')
    parts = re.findall(_DURATION, raw)
    units = [unit for _, unit in parts]
    if "".join(map("".join, parts)) != raw or not raw or units != [unit for unit in _SECONDS if unit in units]:
        raise ValueError(f'{raw!r} is not a duration (such as "250ms", "5s", "1m30s", "2h" or "1d")')
    return Duration(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def format_duration(seconds: float) -> str:
    """The shortest text that ``parse_duration`` reads as the same number of seconds (to a microsecond)."""
    if not seconds:
        return "0s"
    if seconds < 1:
        return f"{round(seconds * 1000, 3):g}ms"
    whole, fraction = divmod(round(seconds, 6), 1)
    text = ""
    for unit in "dhm":
        count, whole = divmod(int(whole), int(_SECONDS[unit]))
        text += f"{count}{unit}" if count else ""
    rest = f"{whole + fraction:.6f}".rstrip("0").rstrip(".")
    return text if text and rest == "0" else f"{text}{rest}s"


def parse_size(raw: str | int) -> Size:
    if isinstance(raw, int):
        if raw < 0:
            raise ValueError(f"{raw} is not a size: it is below 0")
        return Size(raw)
    found = re.fullmatch(_SIZE, raw.replace("KB", "kB"))
    if not found or found[2] not in _BYTES:
        raise ValueError(f'{raw!r} is not a size (such as "64KiB", "1MiB", "10MB" or "512B")')
    return Size(round(float(found[1]) * _BYTES[found[2]]))


def format_size(size: int) -> str:
    for unit, factor in _BYTES.items():
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def parse_rate(raw: str) -> Rate:
    size, slash, per = raw.rpartition("/")
    if not slash or per != "s":
        raise ValueError(f'{raw!r} is not a rate (such as "10MiB/s")')
    try:
        return Rate(parse_size(size))
    except ValueError:
        raise ValueError(f'{raw!r} is not a rate (such as "10MiB/s")') from None


def format_rate(rate: int) -> str:
    return f"{format_size(rate)}/s"


def parse_percent(raw: str | float) -> Percent:
    try:
        number = float(raw.removesuffix("%")) if isinstance(raw, str) else float(raw)
    except ValueError:
        raise ValueError(f'{raw!r} is not a percentage (such as "12.5%" or 12.5)') from None
    if not 0 <= number <= 100:
        raise ValueError(f"{raw} is not a percentage: it must be from 0 to 100")
    return Percent(number)


def format_percent(percent: float) -> str:
    return f"{percent:.12g}%"


def parse_network(raw: str) -> Network:
    """An address alone is a network of one."""
    from ipaddress import ip_network

    try:
        return ip_network(raw)
    except ValueError:
        pass
    try:
        outer = ip_network(raw, strict=False)
    except ValueError:
        raise ValueError(f'{raw!r} is not a network (such as "10.0.0.0/8", "192.0.2.1" or "2001:db8::/32")') from None
    raise ValueError(f'{raw!r} has bits set behind its prefix (write "{outer}")')
