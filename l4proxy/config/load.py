"""The ways to a checked configuration: a file, a mapping, objects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from l4proxy.config.check import check
from l4proxy.config.schema import Config
from l4proxy.config.source import LoadConfig, parse_text, read_text
from l4proxy.config.structure import Origin, complete, structure
from l4proxy.errors import ConfigError, ConfigProblem

if TYPE_CHECKING:
    from l4proxy.registry import Registry

__all__ = ["load_file", "load_mapping", "load_text"]


def load_file(path: str | os.PathLike[str], registry: Registry, *, load_config: LoadConfig | None = None) -> Config:
    """Read a configuration file. ``load_config`` reads formats other than TOML and JSON. Raises ConfigError."""
    return load_text(path, read_text(path, load_config), registry)


def load_text(path: str | os.PathLike[str], text: str, registry: Registry) -> Config:
    """Check what ``read_text`` has read of the file ``path``. Raises ConfigError."""
    source = parse_text(path, text)
    return _checked(structure(Config, source.data, registry=registry, source=source), source)


def load_mapping(config: Mapping[str, Any] | Config, registry: Registry) -> Config:
    """Check a configuration that a program made, as a mapping like a file's or as objects. Raises ConfigError."""
    if isinstance(config, Config):
        return _checked(complete(config, registry))
    return _checked(structure(Config, config, registry=registry))


def _checked(config: Config, source: Origin | None = None) -> Config:
    findings = check(config)
    if not findings:
        return config
    file = source.file if source else ""
    problems = [
        ConfigProblem(path, cause, file=file, line=source.line(path) if source else 0) for path, cause in findings
    ]
    raise ConfigError(sorted(problems, key=lambda problem: problem.line))
