"""What is counted of Redis that passes: in all, by command, endpoint, client and prefix of keys."""

from __future__ import annotations

from l4proxy.stats import SECONDS, Stats, counter, gauge, histogram, labelled_counter

__all__ = ["CommandStats", "EndpointStats", "PrefixStats", "RedisWatchStats", "WatchedClientStats"]

CLIENTS = 1000
PREFIXES = 1000


class RedisWatchStats(Stats, subsystem="redis_watch", labels=("name",)):
    """All that one name is given to."""

    in_flight = gauge("Commands that wait for their replies now.")
    unanswered_total = counter("Commands whose connection ended before their reply.")
    unasked_total = counter("Replies to no command that was seen.")
    messages_total = counter("Messages of channels that clients have subscribed to.")
    message_bytes_total = counter("Their bytes.")
    pushes_total = labelled_counter("What servers push otherwise (RESP3), by kind.", label="kind")
    monitor_lines_total = counter("Commands that MONITOR has shown.")
    silenced_total = counter("Commands to which clients want no reply (CLIENT REPLY).")
    connections_resp2 = gauge("Connections that speak RESP2 now.")
    connections_resp3 = gauge("Connections that speak RESP3 now.")
    subscribers = gauge("Connections that have subscribed to channels now.")
    transactions_total = labelled_counter("Ends of transactions: executed, aborted, discarded.", label="outcome")


class CommandStats(Stats, subsystem="redis_watch_command", labels=("name", "command"), budget=300):
    """Of each command."""

    commands_total = counter("Commands that were sent.")
    errors_total = labelled_counter("Replies that were errors, by their first word.", label="error")
    seconds = histogram("From a command to its whole reply.", buckets=SECONDS)
    request_bytes_total = counter("Bytes of the commands.")
    reply_bytes_total = counter("Bytes of the replies.")


class EndpointStats(Stats, subsystem="redis_watch_endpoint", labels=("name", "endpoint")):
    """Of each server that answers."""

    commands_total = counter("Commands that were answered.")
    errors_total = labelled_counter("Replies that were errors, by their first word.", label="error")
    seconds = histogram("From a command to its whole reply.", buckets=SECONDS)
    request_bytes_total = counter("Bytes of the commands.")
    reply_bytes_total = counter("Bytes of the replies.")


class WatchedClientStats(Stats, subsystem="redis_watch_client", labels=("name", "client"), budget=CLIENTS):
    """Of each client: what it calls itself (CLIENT SETNAME), or else its address without the port."""

    commands_total = counter("Commands that were answered.")
    errors_total = counter("Replies that were errors.")
    request_bytes_total = counter("Bytes of the commands.")
    reply_bytes_total = counter("Bytes of the replies.")


class PrefixStats(Stats, subsystem="redis_watch_prefix", labels=("name", "prefix"), budget=PREFIXES):
    """Of keys that begin alike; none: those without an end of a prefix."""

    keys_total = counter("Keys in commands that were answered.")
    request_bytes_total = counter("Bytes of these commands, of those with a single key.")
    reply_bytes_total = counter("Bytes of their replies, of those with a single key.")
