"""Numbers with units as people write them, read and written.

What reads raises ValueError with the reason and an example; ``structure`` adds where it stands.
"""

from __future__ import annotations

import re

from l4proxy.config.types import Duration, Network, Percent, Rate, Size

__all__ = [
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
