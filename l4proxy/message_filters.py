"""A list of message filters as configured: which classes, with which options, and who wants to see what.

Made in the ``provision`` of the network filter that speaks the protocol, when a configuration is loaded; the chains
of its connections (``l4proxy.message_chain``) only instantiate. With an empty list no chain is needed.

Some requests may meet another list (HTTP: those of a route that says so). Such a *variant* is made of the first list,
and shares with it what both have.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.chain import FilterStats
from l4proxy.config.text import refusal
from l4proxy.errors import ConfigError, ConfigProblem
from l4proxy.message import MessageFilter

if TYPE_CHECKING:
    from l4proxy.config.types import Use
    from l4proxy.server import Server

__all__ = ["MessageFilterUse", "MessageFilters"]


class MessageFilterUse:
    """One place in the list: a message filter class with its options and what its connections share."""

    __slots__ = ("bypass", "cancels", "closes", "cls", "config", "connects", "name", "reads_requests",
                 "reads_responses", "renames", "shared", "stats", "wants")  # fmt: skip

    def __init__(self, use: Use, server: Server) -> None:
        self.cls: type[MessageFilter[Any, Any, Any]] = use.cls
        self.config = use.config
        self.name = self.cls.name
        self.wants = self.cls.wanted(use.config)
        self.renames = self.cls.renames(use.config)
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
        """Raises ValueError when a filter speaks another protocol, ConfigError when it refuses its options."""
        self._protocol = protocol
        self._server = server
        self._made: list[MessageFilterUse] = []
        self.variants: list[list[MessageFilterUse | None]] = []
        """By number: at each place the filter that is met there. None: the first list has one there, this variant has
        not."""
        try:
            self.uses = [self._make(use) for use in uses]
            _pass_names_on(self.uses)
        except Exception:
            self.cleanup()
            raise
        self._add(list(self.uses))

    def variant(self, uses: Sequence[Use], without: Collection[str] = ()) -> int:
        """The number of a variant that lacks the filters called ``without``, and has ``uses``: each takes the place of
        those of its name, or stands behind all others. Requests say it with ``select``. Raises ValueError when a filter
        speaks another protocol, ConfigError when it refuses its options."""
        own = {each.name: self._make(each) for each in uses}
        replaced = set(own)
        places: list[MessageFilterUse | None] = []
        for use in self.uses:
            if use.name in replaced:
                places.append(own.pop(use.name, None))
            else:
                places.append(None if use.name in without else use)
        self._add([*places, *own.values()])
        return len(self.variants) - 1

    def _make(self, use: Use) -> MessageFilterUse:
        if use.cls.protocol != self._protocol:
            raise ValueError(f"message filter {use.name!r} speaks {use.cls.protocol}, not {self._protocol}")
        try:
            made = MessageFilterUse(use, self._server)
        except (ValueError, LookupError, OSError) as error:
            raise ConfigError([ConfigProblem(*refusal(use.path, error, use.config))]) from error
        self._made.append(made)
        return made

    def _add(self, places: list[MessageFilterUse | None]) -> None:
        self.variants.append(places)
        self.length = max(map(len, self.variants))
        """Of the longest variant."""
        self.kinds = frozenset[str]().union(*(use.wants for use in self._made if use.wants is not None))
        """The kinds that some filter names. All others are of interest only to filters that want everything."""
        self._want_all = any(use.wants is None for use in self._made)

    @property
    def seen(self) -> frozenset[str] | None:
        """The kinds of requests that some filter is to see; None: all."""
        return None if self._want_all else self.kinds

    def wants(self, kind: str) -> bool:
        """Whether any filter is to see requests of this kind: only these need to be decoded."""
        return self._want_all or kind in self.kinds

    def __bool__(self) -> bool:
        """Whether there is any filter, and so a chain is needed."""
        return bool(self._made)

    def cleanup(self) -> None:
        for use in self._made:
            use.cls.cleanup(use.shared)


def _pass_names_on(uses: Sequence[MessageFilterUse]) -> None:
    """Who wants a kind of requests is to see those, too, of which filters in front of it make that kind."""
    made_of: dict[str, str] = {}
    for use in uses:
        if use.wants is not None:
            use.wants |= {kind for kind, other in made_of.items() if other in use.wants}
        made_of |= {kind: made_of.get(other, other) for kind, other in use.renames.items()}
