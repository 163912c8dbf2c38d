"""What operators might not expect of a configuration that is right: what its filters say of their places."""

from __future__ import annotations

from collections.abc import Callable

from l4proxy.config.schema import Config

__all__ = ["Remark", "remarks"]

Remark = tuple[str, str]
"""A path, and what is said of it."""


def remarks(config: Config) -> list[Remark]:
    """All of them, in the order of the configuration."""
    found: list[Remark] = []

    def at(path: str) -> Callable[[str], object]:
        return lambda text: found.append((path, text))

    for listener in config.listeners:
        for chain in listener.chains:
            for use in chain.filters:
                use.cls.placed(use.config, listener, at(use.path))
    return found
