"""A list of message filters as configured: which classes, with which options, and who wants to see what.

Made in the ``provision`` of the network filter that speaks the protocol, when a configuration is loaded; the chains
of its connections (``l4proxy.message_chain``) only instantiate. With an empty list no chain is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.chain import FilterStats
from l4proxy.message import MessageFilter

if TYPE_CHECKING:
    from l4proxy.config.types import Use
    from l4proxy.server import Server

__all__ = ["MessageFilterUse", "MessageFilters"]


class MessageFilterUse:
    """One place in the list: a message filter class with its options and what its connections share."""

    __slots__ = ("bypass", "cancels", "closes", "cls", "config", "connects", "name", "reads_requests",
                 "reads_responses", "shared", "stats", "wants")  # fmt: skip

    def __init__(self, use: Use, server: Server) -> None:
        self.cls: type[MessageFilter[Any, Any, Any]] = use.cls
        self.config = use.config
        self.name = self.cls.name
        self.wants = self.cls.wanted(use.config)
        self.bypass = use.on_error == "bypass"
        self.stats = server.stats.group(FilterStats, filter=f"{self.cls.protocol}.{self.name}")
        self.shared = self.cls.provision(use.config, server)
        self.connects = self._overrides("on_connect")
        self.reads_requests = self._overrides("on_request")
        self.reads_responses = self._overrides("on_response")
        self.cancels = self._overrides("on_cancel")
        self.closes = self._overrides("on_close")

    def _overrides(self, callback: str) -> bool:
        return getattr(self.cls, callback) is not getattr(MessageFilter, callback)

    def sees(self, kind: str) -> bool:
        return self.wants is None or kind in self.wants


class MessageFilters:
    """The configured list, provisioned. ``cleanup`` gives back what that made."""

    def __init__(self, protocol: str, uses: Sequence[Use], server: Server) -> None:
        """Raises ValueError when a filter speaks another protocol or refuses its options."""
        self.uses: list[MessageFilterUse] = []
        try:
            for use in uses:
                if use.cls.protocol != protocol:
                    raise ValueError(f"message filter {use.name!r} speaks {use.cls.protocol}, not {protocol}")
                self.uses.append(MessageFilterUse(use, server))
        except Exception:
            self.cleanup()
            raise
        self.kinds = frozenset[str]().union(*(use.wants for use in self.uses if use.wants is not None))
        """The kinds that some filter names. All others are of interest only to filters that want everything."""
        self._want_all = any(use.wants is None for use in self.uses)

    def wants(self, kind: str) -> bool:
        """Whether any filter is to see requests of this kind: only these need to be decoded."""
        return self._want_all or kind in self.kinds

    def cleanup(self) -> None:
        for use in self.uses:
            use.cls.cleanup(use.shared)
