"""Plugins with an option of every type, for all tests of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from l4proxy.access_log.logger import AccessLogger
from l4proxy.balancer import LoadBalancer
from l4proxy.config import Config, load_file
from l4proxy.config.types import (
    ClusterName,
    Duration,
    FilePath,
    Network,
    Percent,
    Plugin,
    PortRange,
    Range,
    Rate,
    Secret,
    Size,
    Use,
)
from l4proxy.discovery import Discovery
from l4proxy.endpoint import Endpoint
from l4proxy.filter import Filter, NoConfig
from l4proxy.matcher import Matcher, PeekInfo
from l4proxy.registry import Kind, Registry


class Level(Enum):
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Route:
    """A destination, by prefix."""

    short_form = "prefix"

    prefix: str
    """What has to come first."""
    cluster: ClusterName | None = None


@dataclass(frozen=True, slots=True)
class GateConfig:
    wait: Annotated[Duration, Range(0, 60)] = Duration(1.0)
    """How long to wait
    before the gate opens."""
    limit: Size = Size(1024)
    rate: Rate | None = None
    share: Percent = Percent(100)
    ports: tuple[PortRange, ...] = ()
    networks: tuple[Network, ...] = ()
    token: Secret | None = None
    """Who knows it may pass."""
    file: FilePath | None = None
    mode: Literal["open", "closed", "auto"] = "auto"
    level: Level = Level.LOW
    ratio: float = 0.5
    tries: Annotated[int, Range(1, 10)] | Literal["endless"] = 3
    timeout: Duration | Literal["never"] = "never"
    shadow: bool = False
    weights: dict[str, Annotated[int, Range(0)]] | None = None
    routes: tuple[Route, ...] = ()
    cluster: ClusterName | None = None

    def __post_init__(self) -> None:
        if self.shadow and self.mode == "open":
            raise ValueError("shadow: an open gate has no shadow")
        if self.ratio > 1:
            raise ValueError("a ratio above 1: makes no sense")


class Gate(Filter[GateConfig]):
    """Let some clients in.

    Others wait::

        filters = [{ use = "gate", wait = "5s" }, "echo"]
    """

    name = "gate"


class Echo(Filter[NoConfig]):
    """Send everything back."""

    name = "echo"
    terminal = True


@dataclass(frozen=True, slots=True)
class ForwardConfig:
    cluster: ClusterName
    """Where connections go."""
    retry: Annotated[Use, Plugin(Kind.LOAD_BALANCER)] = Use("round_robin")
    idle: Duration = Duration(0)


class Forward(Filter[ForwardConfig]):
    """Connect upstream."""

    name = "forward"
    terminal = True


class Source(Matcher[tuple[Network, ...]]):
    """The client's address is in one of these networks."""

    name = "source"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        return None


class Ssh(Matcher[bool]):
    """The client speaks SSH, or it does not."""

    name = "ssh"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        return None


class RoundRobin(LoadBalancer[NoConfig]):
    """By turns."""

    name = "round_robin"

    def choose(self, hash_key: int | None) -> Endpoint | None:
        return None


@dataclass(frozen=True, slots=True)
class RingConfig:
    size: Annotated[int, Range(1)] = 1024


class Ring(LoadBalancer[RingConfig]):
    """By hash."""

    name = "ring"

    def choose(self, hash_key: int | None) -> Endpoint | None:
        return None


class Static(Discovery[NoConfig]):
    """What is written."""

    name = "static"

    async def run(self, update: Any) -> None:
        pass


class Dns(Discovery[NoConfig]):
    """What names say."""

    name = "dns"

    async def run(self, update: Any) -> None:
        pass


@dataclass(frozen=True, slots=True)
class FileConfig:
    path: FilePath


class FileLogger(AccessLogger[FileConfig]):
    """To a file."""

    name = "file"

    def log(self, record: Any) -> None:
        pass


PLUGINS: dict[Kind, tuple[type[Any], ...]] = {
    Kind.FILTER: (Gate, Echo, Forward),
    Kind.MATCHER: (Source, Ssh),
    Kind.LOAD_BALANCER: (RoundRobin, Ring),
    Kind.DISCOVERY: (Static, Dns),
    Kind.ACCESS_LOGGER: (FileLogger,),
}


@pytest.fixture(scope="session")
def sample_registry() -> Registry:
    """For tests that only read it."""
    return filled_registry()


@pytest.fixture
def registry() -> Registry:
    return filled_registry()


def filled_registry() -> Registry:
    filled = Registry()
    for kind, classes in PLUGINS.items():
        for cls in classes:
            filled.register(kind, cls, "sample")
    return filled


@pytest.fixture
def load(tmp_path: Path, registry: Registry) -> Callable[..., Config]:
    """Loads the text of a configuration file."""

    def load_text(text: str, name: str = "proxy.toml") -> Config:
        path = tmp_path / name
        path.write_text(text)
        return load_file(path, registry)

    return load_text
