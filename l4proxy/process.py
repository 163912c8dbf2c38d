"""A process that is a proxy: what the command line starts.

``run_process`` decides between one process that serves and a supervisor with workers. A worker is started with the very
command line of its supervisor and finds out by its environment what it is, so that there is nothing to hand over but
sockets. The same is true of the successor that SIGUSR2 starts: a new program, new plugins, the old sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from l4proxy.address import in_ranges
from l4proxy.config.remarks import remarks
from l4proxy.errors import ConfigError
from l4proxy.handoff import configuration_from_environment, sockets_from_environment
from l4proxy.poller import new_event_loop

if TYPE_CHECKING:
    from l4proxy.address import Address
    from l4proxy.config.schema import Config
    from l4proxy.plugin_manager import PluginManager

__all__ = ["Announce", "Launch", "Locate", "log_addresses", "log_remarks", "nowhere", "run_process"]

log = logging.getLogger("l4proxy.process")

Announce = Callable[["Mapping[str, list[Address]]", int], None]
"""Called once, when everything serves: with the addresses that each listener is bound to, and the number of workers."""
Locate = Callable[[ConfigError, str], ConfigError]
"""Says of what is found to be wrong after loading on which lines of the configuration's text it stands."""


def log_addresses(addresses: Mapping[str, list[Address]], workers: int) -> None:
    if workers > 1:
        log.info("%d workers serve", workers)
    for name, bound in addresses.items():
        at = ", ".join(in_ranges(bound))
        log.info("listening on %s%s", at, "" if name == at else f" ({name})")


def nowhere(error: ConfigError, _text: str) -> ConfigError:
    """For a configuration that has no text."""
    return error


def log_remarks(config: Config) -> None:
    """What filters say of their places in a configuration that is at work now."""
    for _path, text in remarks(config):
        log.info("%s", text)


@dataclass(frozen=True, slots=True)
class Launch:
    """What a process was asked to run. ``load`` and ``read`` raise ConfigError."""

    load: Callable[[str], Config]
    """Checks a configuration: the text that ``read`` returned, here or in another process."""
    plugins: PluginManager
    read: Callable[[], str] = str
    """Reads the configuration's text, at start and for each reload. A supervisor does it once for all its workers;
    where the command line is the configuration there is no text."""
    locate: Locate = nowhere
    json_log: bool = False
    announce: Announce = log_addresses

    @contextlib.contextmanager
    def locating(self, text: str) -> Iterator[None]:
        """What is refused inside says where it stands in ``text``."""
        try:
            yield
        except ConfigError as error:
            raise self.locate(error, text) from error

    @property
    def ends_with_terminal(self) -> bool:
        """Whether SIGHUP means that the terminal is gone, and not that a file is to be read again: there is none, and
        somebody looks at what it says."""
        return self.read is str and sys.stderr is not None and sys.stderr.isatty()


def run_process(launch: Launch) -> int:
    """Serve until told to stop; return the exit status. Raises ConfigError and PluginError before anything is
    served."""
    from l4proxy.logging_setup import flush_log, set_up_logging

    text = configuration_from_environment()
    if text is None:
        text = launch.read()
    config = launch.load(text)
    set_up_logging(config.log_level, json_lines=launch.json_log)
    try:
        return _run(launch, text, config)
    finally:
        flush_log()  # whatever else is printed comes behind


def _run(launch: Launch, text: str, config: Config) -> int:
    raise_descriptor_limit()
    inherited = sockets_from_environment()

    def loop_factory() -> asyncio.AbstractEventLoop:
        return launch.plugins.make_event_loop() or new_event_loop()

    from l4proxy.worker import Worker, supervisor_of_this

    parent = supervisor_of_this()
    workers = worker_count(config)
    with launch.locating(text), asyncio.Runner(loop_factory=loop_factory) as runner:
        if parent is None and workers > 1:
            from l4proxy.supervisor import Supervisor

            return runner.run(Supervisor(launch, text, config, inherited).run())
        return runner.run(Worker(launch, config, inherited, parent).run())


def worker_count(config: Config) -> int:
    return len(os.sched_getaffinity(0)) if config.workers == "auto" else config.workers


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as the system lets us have without asking, and say so when that is few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError) as error:
            log.warning("the limit of file descriptors stays at %d: %s", soft, error)
    if soft != resource.RLIM_INFINITY and soft < 4096:
        log.warning("only %d file descriptors: that is about %d connections (raise it with ulimit -n)", soft, soft // 2)


def own_command() -> list[str]:
    """The command line that starts this program again, options of the interpreter included."""
    return [sys.executable, *sys.orig_argv[1:]]
