"""What is counted: by command, by endpoint, by use."""

from __future__ import annotations

from bisect import bisect_left

from l4proxy.histograms import Histogram
from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter

__all__ = ["SEVERAL", "CommandStats", "EndpointCommandStats", "RedisProxyStats", "Tally"]


SEVERAL = ""
"""Stands for the name of commands where they are of several kinds."""


class CommandStats(Stats, subsystem="redis_command", labels=("cluster", "command")):
    """One command on one cluster."""

    commands_total = counter("Commands sent.")
    errors_total = labelled_counter("Replies that were errors, by their first word.", label="error")
    seconds = histogram(
        "From when a command was sent until its reply was there; where a pipeline of several commands was divided "
        "among servers, until all its replies were.",
        buckets=SECONDS,
    )
    request_bytes_total = counter("Bytes of the commands.")
    reply_bytes_total = counter("Bytes of the replies.")

    def answered(self, count: int, size: int, took: float) -> None:
        """So many commands have been, with replies of so many bytes together, each after ``took`` seconds."""
        self.commands_total += count
        self.reply_bytes_total += size
        self.seconds.counts[bisect_left(SECONDS, took)] += count
        self.seconds.sum += took * count


class EndpointCommandStats(Stats, subsystem="redis_endpoint", labels=("cluster", "endpoint")):
    """All commands of one endpoint."""

    commands_total = counter("Commands sent.")
    errors_total = labelled_counter("Replies that were errors, by their first word.", label="error")
    seconds = histogram("From when a command was sent until its reply was there.", buckets=SECONDS)
    queue_seconds = histogram(
        "How long commands waited until they could be sent: for a connection, or for a server that did not read. Those "
        "that did not have to wait are not counted.",
        buckets=SECONDS,
    )
    request_bytes_total = counter("Bytes of the commands.")
    reply_bytes_total = counter("Bytes of the replies.")
    in_flight = gauge("Commands that wait for their replies now.")
    failed_total = counter("Commands that got an error of the proxy's own because a connection was lost or not made.")
    connections_shared = gauge("Connections that clients share now.")
    connections_dedicated = gauge("Connections that clients have to themselves now.")
    connections_idle = gauge("Connections that wait for the next client that needs one to itself.")
    unasked_total = counter("Pushes on shared connections, which are for nobody.")


class RedisProxyStats(Stats, subsystem="redis_proxy", labels=("name",)):
    """Clients of one use of the filter."""

    clients_active = gauge("Clients connected now.")
    protocol_errors_total = labelled_counter("Clients that broke the protocol, by how.", label="error")
    dedicated_total = labelled_counter("Times a client was given a connection to itself, by command.", label="command")
    held_total = counter("Times a shared connection was not read because a client did not take its reply.")
    slow_readers_total = counter("Clients that were disconnected because they did not take their replies.")
    overflow_total = counter("Commands refused because too many were waiting.")


class Tally:
    """What one connection counts of one command, until it is added to the statistics of the command and of the
    endpoint: so that it is counted once, and the endpoint may turn out later."""

    __slots__ = ("command", "commands_total", "reply_bytes_total", "request_bytes_total", "seconds")

    def __init__(self, command: CommandStats | None) -> None:
        self.command = command
        """None: commands of several kinds, which somebody else counts as what each of them is."""
        self.commands_total = self.request_bytes_total = self.reply_bytes_total = 0
        self.seconds = Histogram(SECONDS)

    def add_to(self, endpoint: EndpointCommandStats) -> None:
        """To both; then it begins anew."""
        for stats in (self.command, endpoint) if self.command is not None else (endpoint,):
            stats.commands_total += self.commands_total
            stats.request_bytes_total += self.request_bytes_total
            stats.reply_bytes_total += self.reply_bytes_total
            stats.seconds.add(self.seconds)
        self.commands_total = self.request_bytes_total = self.reply_bytes_total = 0
        self.seconds.clear()
