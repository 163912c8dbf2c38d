"""Endpoints file: the endpoints stand in a file of their own, which is read again whenever it changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from l4proxy.config.schema import EndpointConfig
from l4proxy.config.types import Duration, FilePath, Range
from l4proxy.discovery import Discovery, Update
from l4proxy.endpoint import EndpointSpec
from l4proxy.errors import ConfigError, cannot_read
from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.names import is_literal, literal_endpoints

if TYPE_CHECKING:
    from l4proxy.config.schema import Cluster

__all__ = ["EndpointsFile", "EndpointsFileConfig"]

SIZE_LIMIT = 4 * 1024 * 1024
"""Bytes of a file that are read."""
Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class EndpointsFileConfig:
    path: FilePath
    """The file: JSON where its name ends in `.json`, else TOML, with `endpoints` written as in a cluster."""
    interval: Annotated[Duration, Range(0.1)] = Duration(1.0)
    """How often the file is looked at."""


@dataclass(frozen=True, slots=True)
class Document:
    """What stands in the file."""

    endpoints: tuple[EndpointConfig, ...]
    """The servers, as `"host:port"` or `{ address = "host:port", weight = 2 }`."""


class EndpointsFile(Discovery[EndpointsFileConfig]):
    """The endpoints stand in a file, which may change at any time: by hand, or by a program that knows the servers.

    A file that is gone, or that says something wrong, changes nothing: the endpoints read last stay, and the problem is
    shown. Host names are looked up as ``static`` does it.
    """

    name = "endpoints_file"

    def __init__(self, config: EndpointsFileConfig, cluster: Cluster) -> None:
        super().__init__(config, cluster)
        if cluster.endpoints:
            raise ValueError(f"endpoints: this cluster's endpoints stand in {config.path}; write them there")
        self._version: Version | None = None
        self._endpoints: tuple[EndpointConfig, ...] = ()

    def initial(self) -> Sequence[EndpointSpec] | None:
        self._read()
        if all(is_literal(one.address) for one in self._endpoints):
            return literal_endpoints(self._endpoints)
        return None

    async def run(self, update: Update) -> None:
        following = asyncio.create_task(self._follow(update))
        try:
            while True:
                await asyncio.sleep(self.config.interval)
                if following.done():
                    following.result()  # raise here what it raised
                if self._read():
                    following.cancel()
                    following = asyncio.create_task(self._follow(update))
        finally:
            following.cancel()

    async def _follow(self, update: Update) -> None:
        """Publish the endpoints of the last reading, and look up those that are names."""
        if all(is_literal(one.address) for one in self._endpoints):
            update(literal_endpoints(self._endpoints))
            return
        from l4proxy.plugins.dns_resolver import DnsResolver
        from l4proxy.plugins.names import DnsConfig, Names, one_endpoint

        await Names(DnsConfig(), one_endpoint, self, DnsResolver()).follow(self._endpoints, update)

    def _read(self) -> bool:
        """Read the file if it is another one than last time. Returns whether there are other endpoints now."""
        version, self._version = self._version, None
        try:
            status = os.stat(self.config.path)
            self._version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if self._version == version:
                return False
            endpoints = _parse(self.config.path)
        except OSError as error:
            self._version = None
            self.report(cannot_read(self.config.path, error))
            return False
        except ValueError as error:
            self.report(f"{self.config.path}: {error}")
            return False
        self.report()
        changed = endpoints != self._endpoints
        self._endpoints = endpoints
        return changed


def _parse(path: str) -> tuple[EndpointConfig, ...]:
    """Raises OSError, and ValueError with all that is wrong."""
    from l4proxy.config.structure import structure
    from l4proxy.registry import Registry

    with open(path, "rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise ValueError(f"is larger than {SIZE_LIMIT} bytes")
    try:
        return structure(Document, _load(path, content.decode()), registry=Registry()).endpoints
    except ConfigError as error:
        raise ValueError("; ".join(str(problem) for problem in error.problems)) from None


def _load(path: str, text: str) -> Any:
    if path.endswith(".json"):
        import json

        return json.loads(text)
    import tomllib

    return tomllib.loads(text)


@hookimpl
def register_discovery(register: Register[type[EndpointsFile]]) -> None:
    register(EndpointsFile)
