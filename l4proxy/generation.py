"""One loaded configuration at work: listeners with their chains, made whole before anything is switched over.

A reload makes a new generation beside the old one. It takes over the listening sockets of addresses that both have, and
the old one lives on without accepting until its last connection is closed; then its filters' ``cleanup`` is called.
When anything in the new one is wrong, it is dropped and nothing has happened.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from l4proxy.access_log.logger import AccessLogStats
from l4proxy.chain import FilterChain, FilterUse
from l4proxy.config.text import refusal
from l4proxy.errors import ConfigError, ConfigProblem, PluginError
from l4proxy.listener import Listener
from l4proxy.sockets import bound_address, change_options, open_listening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from l4proxy.access_log.logger import AccessLogger
    from l4proxy.address import Address
    from l4proxy.config import schema
    from l4proxy.config.types import Use
    from l4proxy.server import Server
    from l4proxy.sockets import SocketOptions

__all__ = ["Generation", "SocketStore"]

log = logging.getLogger("l4proxy.generation")


class SocketStore:
    """The listening sockets of a process, by what they are bound to. They outlive generations."""

    def __init__(self) -> None:
        self._sockets: dict[tuple[str, bool], list[socket.socket]] = {}
        """By address, and whether they are transparent: all other options can be changed (``Generation.start``)."""
        self.inherited: dict[str, list[socket.socket]] = {}
        """Sockets from a service manager or an older process, by address text; used before any is opened."""

    def take(
        self, address: Address, config: SocketOptions, *, owner: str = "", beside: SocketStore | None = None
    ) -> list[socket.socket]:
        """The sockets of an address, opened now if there are none. Raises OSError.

        ``owner`` is the listener's name: what one got who asked for any free port (0) is not for another one.
        ``beside``: another worker's store that has them already. TCP addresses are then opened once more on the same
        port (``SO_REUSEPORT``); a unix socket cannot be, and is shared.
        """
        label = str(address) if address.is_unix or address.port else f"{address} {owner}"
        key = (label, config.transparent or config.original_destination == "tproxy")
        sockets = self._sockets.get(key)
        if sockets is None:
            sockets = self.inherited.pop(label, None) or _open_beside(address, config, owner, beside)
            self._sockets[key] = sockets
        return sockets

    def keep_only(self, used: set[int]) -> None:
        """Close every socket whose descriptor is not in ``used``, and what was inherited and not wanted."""
        for key, sockets in list(self._sockets.items()):
            if not any(sock.fileno() in used for sock in sockets):
                del self._sockets[key]
                for sock in sockets:
                    sock.close()
        self.close_unused()

    def close_unused(self) -> None:
        """Close what was inherited and no listener asked for."""
        for sockets in self.inherited.values():
            for sock in sockets:
                if sock.fileno() >= 0 and not any(sock in taken for taken in self._sockets.values()):
                    sock.close()
        self.inherited.clear()

    def all(self) -> dict[str, list[socket.socket]]:
        return {label: sockets for (label, _), sockets in self._sockets.items()}


def _open_beside(
    address: Address, config: SocketOptions, owner: str, beside: SocketStore | None
) -> list[socket.socket]:
    if beside is None:
        return open_listening(address, config)
    others = beside.take(address, config, owner=owner)
    if address.is_unix:
        return [sock.dup() for sock in others]
    return open_listening(replace(address, port=bound_address(others[0]).port), config)


class Generation:
    """Built from a checked configuration. Raises ConfigError with all that is wrong, and with everything it had made
    taken back.

    One that is on ``trial`` has no sockets and no logs, and so no effect on anything outside. It can only be retired.
    """

    def __init__(self, config: schema.Config, server: Server, *, trial: bool = False) -> None:
        self.config = config
        self.server = server
        self._trial = trial
        self._problems: list[ConfigProblem] = []
        self.listeners: list[Listener] = []
        self._uses: list[FilterUse] = []
        self._loggers: list[AccessLogger[Any]] = []
        self._retired = False
        try:
            defaults = self._make_loggers(config.access_log)
            for at, listener in enumerate(config.listeners):
                self.listeners.append(self._make_listener(listener, f"listeners[{at}]", defaults))
            if self._problems:
                raise ConfigError(self._problems)
        except BaseException:
            self._cleanup()
            raise

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        """What is refused inside is noted, and one goes on: there may be more that is wrong."""
        try:
            yield
        except ConfigError as error:
            self._problems += error.problems

    def _make_listener(self, config: schema.Listener, path: str, defaults: tuple[AccessLogger[Any], ...]) -> Listener:
        chains = [self._make_chain(chain, f"{path}{where}", config) for where, chain in config.chains_by_path()]
        preambles = tuple(self._make_all(config.preambles))
        loggers = defaults if config.access_log is None else self._make_loggers(config.access_log)
        if self.config.admin is not None:
            loggers = (*loggers, self.server.recent)
        sockets: list[socket.socket] = []
        for address in () if self._trial else config.addresses:
            try:
                sockets += self.server.sockets.take(address, config, owner=config.name)
            except OSError as error:
                self._problems.append(ConfigProblem(f"{path}.address", str(error.strerror or error)))
        return Listener(config, sockets, chains, preambles, loggers, self.server)

    def _make_chain(self, config: schema.FilterChain, path: str, listener: schema.Listener) -> FilterChain:
        uses: list[FilterUse] = []
        for use in config.filters:
            with self._noting():
                options = _make(use, use.cls.placed, use.config, listener, _ignore)
                uses.append(_make(use, FilterUse, use.cls, options, self.server, use.on_error == "bypass"))
                self._uses.append(uses[-1])
        matchers = self._make_all(config.match)
        tls = None
        if config.tls is not None:
            from l4proxy.tls import ServerTlsContext, TlsStats

            config_tls = config.tls
            if not config_tls.alpn and uses and (protocols := uses[-1].application_protocols()):
                config_tls = replace(config_tls, alpn=protocols)
            try:
                tls = ServerTlsContext(
                    config_tls, self.server.stats.group(TlsStats, listener=listener.name, cluster="")
                )
            except ValueError as error:
                self._problems.append(ConfigProblem(*refusal(f"{path}.tls", error, config_tls)))
        return FilterChain(config.name, uses, matchers, tls)

    def _make_all(self, uses: tuple[Use, ...]) -> list[Any]:
        made = []
        for use in uses:
            with self._noting():
                made.append(_make(use, use.cls, use.config))
        return made

    def _make_loggers(self, uses: tuple[Use, ...]) -> tuple[AccessLogger[Any], ...]:
        made: list[AccessLogger[Any]] = []
        if self._trial:
            for use in uses:
                with self._noting():
                    _make(use, use.cls.check, use.config)
            return ()
        for logger in self._make_all(uses):
            logger.stats = self.server.stats.group(AccessLogStats, logger=logger.name)
            self._loggers.append(logger)
            made.append(logger)
        return tuple(made)

    def start(self) -> None:
        for listener in self.listeners:
            for sock in listener.sockets:  # another configuration may have opened it, or another process
                change_options(sock, listener.config)
            listener.start()

    def retire(self) -> None:
        """Accept nothing more; when the last connection is closed, clean up."""
        self._retired = True
        for listener in self.listeners:
            listener.retire()
        self.connection_released()

    def connection_released(self) -> None:
        if self._retired and not any(listener.connections or listener.pending for listener in self.listeners):
            self._retired = False
            self._cleanup()

    def reopen_logs(self) -> None:
        for logger in self._loggers:
            logger.reopen()

    @property
    def connections(self) -> int:
        return sum(len(listener.connections) + len(listener.pending) for listener in self.listeners)

    def _cleanup(self) -> None:
        for use in self._uses:
            try:
                use.cleanup()
            except Exception:
                log.exception("cleanup of filter %s failed", use.name)
        for logger in self._loggers:
            logger.close()
        self.server.generation_gone(self)


def _make(use: Use, make: Callable[..., Any], *arguments: Any) -> Any:
    """Instantiate a configured plugin; what it refuses is a problem at its place in the configuration."""
    try:
        return make(*arguments)
    except ConfigError:
        raise
    except (ValueError, LookupError, OSError) as error:
        raise ConfigError([ConfigProblem(*refusal(use.path, error, use.config))]) from error
    except Exception as error:
        log.exception("%s: %s could not be made", use.path, use.name)
        raise PluginError(f"{use.path}: {use.name} could not be made: {type(error).__name__}: {error}") from error


def _ignore(_remark: str) -> None:
    """It has been made when the configuration was loaded (``config.remarks``)."""
