"""``block`` for Redis: commands that clients may not send."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from l4proxy.hookspecs import Register, hookimpl
from l4proxy.plugins.redis.message import RedisFilter, RedisRequest, RedisResponse
from l4proxy.protocols.redis.commands import check_names
from l4proxy.stats import Stats, labelled_counter

if TYPE_CHECKING:
    from l4proxy.server import Server

__all__ = ["RedisBlock", "RedisBlockConfig"]

SWITCHES = {
    "flush": ("FLUSHALL", "FLUSHDB", "CLUSTER|FLUSHSLOT"),
    "config": ("CONFIG",),
    "debug": ("DEBUG", "PFDEBUG", "PFSELFTEST"),
    "keys": ("KEYS",),
    "shutdown": ("SHUTDOWN",),
    "replication": ("REPLICAOF", "SLAVEOF", "FAILOVER"),
    "persistence": ("SAVE", "BGSAVE", "BGREWRITEAOF"),
    "modules": ("MODULE",),
    "users": ("ACL",),
    "monitor": ("MONITOR",),
    "migrate": ("MIGRATE", "RESTORE", "RESTORE-ASKING"),
    "swap": ("SWAPDB",),
    "cluster": ("CLUSTER|ADDSLOTS", "CLUSTER|ADDSLOTSRANGE", "CLUSTER|BUMPEPOCH", "CLUSTER|CANCELSLOTMIGRATIONS",
                "CLUSTER|DELSLOTS", "CLUSTER|DELSLOTSRANGE", "CLUSTER|FAILOVER", "CLUSTER|FLUSHSLOTS", "CLUSTER|FORGET",
                "CLUSTER|MEET", "CLUSTER|MIGRATESLOTS", "CLUSTER|REPLICATE", "CLUSTER|RESET", "CLUSTER|SAVECONFIG",
                "CLUSTER|SET-CONFIG-EPOCH", "CLUSTER|SETSLOT", "CLUSTER|SYNCSLOTS"),
    "clients": ("CLIENT|KILL", "CLIENT|PAUSE", "CLIENT|UNPAUSE"),
    "scripts": ("EVAL", "EVAL_RO", "EVALSHA", "EVALSHA_RO", "FCALL", "FCALL_RO", "FUNCTION", "SCRIPT"),
}  # fmt: skip
HARMLESS = frozenset(("ACL|WHOAMI", "ACL|CAT", "ACL|GENPASS"))
"""Not meant by the switch that their command has."""


@dataclass(frozen=True, slots=True)
class RedisBlockConfig:
    flush: bool = True
    """Block FLUSHALL, FLUSHDB and CLUSTER FLUSHSLOT."""
    config: bool = True
    """Block CONFIG."""
    debug: bool = True
    """Block DEBUG, PFDEBUG and PFSELFTEST."""
    keys: bool = True
    """Block KEYS, which keeps the server busy for as long as it has keys."""
    shutdown: bool = True
    """Block SHUTDOWN."""
    replication: bool = True
    """Block REPLICAOF, SLAVEOF and FAILOVER."""
    persistence: bool = True
    """Block SAVE, BGSAVE and BGREWRITEAOF."""
    modules: bool = True
    """Block MODULE."""
    users: bool = True
    """Block ACL, but for ACL WHOAMI, ACL CAT and ACL GENPASS."""
    monitor: bool = True
    """Block MONITOR, which shows everybody's commands."""
    migrate: bool = True
    """Block MIGRATE and RESTORE."""
    swap: bool = True
    """Block SWAPDB."""
    cluster: bool = True
    """Block those subcommands of CLUSTER that change a Redis Cluster: RESET, FAILOVER, FORGET, MEET, SETSLOT and
    the like. SLOTS, SHARDS, NODES, INFO and the others that only tell something pass."""
    clients: bool = True
    """Block CLIENT KILL, PAUSE and UNPAUSE: clients share connections, so these are for all of them."""
    scripts: bool = False
    """Block EVAL, FCALL and their kin. No filter sees what a script does, and it can do FLUSHALL, KEYS ..."""
    commands: tuple[str, ...] = ()
    """Block these, too: `["GETSET", "CLIENT|KILL"]`."""
    allow: tuple[str, ...] = ()
    """Let these pass all the same: `["CONFIG|GET"]`."""

    def __post_init__(self) -> None:
        check_names("commands", self.commands)
        check_names("allow", self.allow)

    def blocked(self) -> dict[str, str]:
        """The names, in capitals, each with the option that says so."""
        switched = {name: switch for switch, names in SWITCHES.items() if getattr(self, switch) for name in names}
        return switched | {name.upper(): "commands" for name in self.commands}


class RedisBlockStats(Stats, subsystem="redis_block"):
    """Commands that were blocked."""

    blocked_total = labelled_counter("Commands answered with an error, by name.", label="command")


class Rules:
    def __init__(self, config: RedisBlockConfig, server: Server) -> None:
        self.stats = server.stats.group(RedisBlockStats)
        self.blocked = config.blocked()
        self.allowed = frozenset(name.upper() for name in config.allow) | HARMLESS.difference(self.blocked)


class RedisBlock(RedisFilter[RedisBlockConfig]):
    """Answer dangerous commands with an error, instead of sending them to the server.

        { use = "block" }
        { use = "block", keys = false, commands = ["GETSET"], allow = ["CONFIG|GET"] }

    Without options it blocks what nobody but an operator has a use for: each is a switch. Commands that are not blocked
    do not come by here, and cost nothing.

    Where clients can come from other machines, `redis_proxy` has it by itself: in front of all its `filters`, unless
    it is one of them, or `block_dangerous = false`.
    """

    name = "block"
    shared: Rules

    @classmethod
    def provision(cls, config: RedisBlockConfig, server: Server) -> Rules:
        return Rules(config, server)

    @classmethod
    def wanted(cls, config: RedisBlockConfig) -> frozenset[str]:
        return frozenset(name.partition("|")[0] for name in config.blocked())

    def on_request(self, request: RedisRequest) -> RedisRequest | None:
        name = request.command.name or request.name
        either = {request.kind, request.name, name}
        option = next((self.shared.blocked[one] for one in either if one in self.shared.blocked), None)
        if option is None or either & self.shared.allowed:
            return request
        self.shared.stats.blocked_total.add(name)
        text = f"NOPERM {name.replace('|', ' ')} is blocked by this proxy (block: {option})"
        self.reply(request, RedisResponse.error(text))
        return None


assert {field.name for field in fields(RedisBlockConfig)} >= set(SWITCHES)


@hookimpl
def register_message_filters(register: Register[Any]) -> None:
    register(RedisBlock)
