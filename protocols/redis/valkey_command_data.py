"""Commands as a server says that they are. Written by ``contrib/redis/write_command_table.py``; not edited.

Valkey 9.1.2. Each row: arity, flags, categories, key specifications (``keys.py`` says how they read), tips, since.
"""

from __future__ import annotations

# ruff: noqa: E501
# fmt: off

__all__ = ["BEYOND"]

BEYOND: dict[str, tuple[int, str, str, str, str, str]] = {
    "CLIENT|CAPA": (-3, "allow_busy loading noscript stale", "connection slow", "", "", "8.0.0"),
    "CLIENT|IMPORT-SOURCE": (3, "loading noscript stale", "connection slow", "", "", "8.1.0"),
    "CLIENT|NO-TOUCH": (3, "allow_busy loading noscript stale", "connection slow", "", "", "7.2.0"),
    "CLIENT|SETINFO": (4, "allow_busy loading noscript stale", "connection slow", "", "request_policy:all_nodes response_policy:all_succeeded", "7.2.0"),
    "CLUSTERSCAN": (-2, "readonly", "keyspace read slow", "1 range 0 1 0 not_key", "nondeterministic_output request_policy:special response_policy:special", "9.1.0"),
    "CLUSTER|CANCELSLOTMIGRATIONS": (2, "admin no_async_loading stale", "admin dangerous slow", "", "", "9.0.0"),
    "CLUSTER|FLUSHSLOT": (-3, "admin no_async_loading write", "admin dangerous keyspace slow write", "", "", "9.0.0"),
    "CLUSTER|GETSLOTMIGRATIONS": (2, "admin no_async_loading stale", "admin dangerous slow", "", "", "9.0.0"),
    "CLUSTER|MIGRATESLOTS": (-4, "admin no_async_loading stale", "admin dangerous slow", "", "", "9.0.0"),
    "CLUSTER|MYSHARDID": (2, "loading stale", "slow", "", "nondeterministic_output", "7.2.0"),
    "CLUSTER|REPLICATE": (-3, "admin no_async_loading stale", "admin dangerous slow", "", "", "3.0.0"),
    "CLUSTER|SLOT-STATS": (-4, "loading stale", "slow", "", "nondeterministic_output request_policy:all_shards", "8.0.0"),
    "CLUSTER|SYNCSLOTS": (-3, "admin no_async_loading stale", "admin dangerous slow", "", "", "9.0.0"),
    "COMMANDLOG": (-2, "", "slow", "", "", "8.1.0"),
    "COMMANDLOG|GET": (4, "admin loading stale", "admin dangerous slow", "", "nondeterministic_output request_policy:all_nodes", "8.1.0"),
    "COMMANDLOG|HELP": (2, "loading stale", "slow", "", "", "8.1.0"),
    "COMMANDLOG|LEN": (3, "admin loading stale", "admin dangerous slow", "", "nondeterministic_output request_policy:all_nodes response_policy:agg_sum", "8.1.0"),
    "COMMANDLOG|RESET": (3, "admin loading stale", "admin dangerous slow", "", "request_policy:all_nodes response_policy:all_succeeded", "8.1.0"),
    "COMMAND|GETKEYS": (-3, "loading stale", "connection slow", "", "", "2.8.13"),
    "COMMAND|GETKEYSANDFLAGS": (-3, "loading stale", "connection slow", "", "", "7.0.0"),
    "DELIFEQ": (3, "fast write", "fast string write", "1 range 0 1 0 RM delete", "", "9.0.0"),
    "HEXPIRE": (-6, "fast write", "fast hash write", "1 range 0 1 0 RW update", "", "9.0.0"),
    "HEXPIREAT": (-6, "fast write", "fast hash write", "1 range 0 1 0 RW update", "", "9.0.0"),
    "HEXPIRETIME": (-5, "fast readonly", "fast hash read", "1 range 0 1 0 RO access", "", "9.0.0"),
    "HGETDEL": (-5, "fast write", "fast hash write", "1 range 0 1 0 RW access delete", "", "9.1.0"),
    "HGETEX": (-5, "fast write", "fast hash write", "1 range 0 1 0 RW access update", "", "9.0.0"),
    "HPERSIST": (-5, "fast write", "fast hash write", "1 range 0 1 0 RW update", "", "9.0.0"),
    "HPEXPIRE": (-6, "fast write", "fast hash write", "1 range 0 1 0 RW update", "", "9.0.0"),
    "HPEXPIREAT": (-6, "fast write", "fast hash write", "1 range 0 1 0 RW update", "", "9.0.0"),
    "HPEXPIRETIME": (-5, "fast readonly", "fast hash read", "1 range 0 1 0 RO access", "", "9.0.0"),
    "HPTTL": (-5, "fast readonly", "fast hash read", "1 range 0 1 0 RO access", "", "9.0.0"),
    "HSETEX": (-6, "denyoom fast write", "fast hash write", "1 range 0 1 0 RW insert", "", "9.0.0"),
    "HTTL": (-5, "fast readonly", "fast hash read", "1 range 0 1 0 RO access", "", "9.0.0"),
    "MSETEX": (-4, "denyoom movablekeys write", "slow string write", "1 keynum 0 1 2 OW update", "request_policy:multi_shard response_policy:all_succeeded", "9.1.0"),
    "SCRIPT|DEBUG": (-3, "noscript", "scripting slow", "", "", "3.2.0"),
    "SCRIPT|SHOW": (3, "noscript stale", "scripting slow", "", "", "8.0.0"),
    "WAITAOF": (4, "blocking", "blocking connection slow", "", "request_policy:all_shards response_policy:agg_min", "7.2.0"),
    "ZRANK": (-3, "fast readonly", "fast read sortedset", "1 range 0 1 0 RO access", "", "2.0.0"),
    "ZREVRANK": (-3, "fast readonly", "fast read sortedset", "1 range 0 1 0 RO access", "", "2.0.0"),
}
