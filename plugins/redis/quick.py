"""``l4proxy redis``."""

from __future__ import annotations

import argparse
from typing import Any, get_args

from l4proxy.cli.quick import Draft, QuickCommand
from l4proxy.cli.use import parse_use
from l4proxy.plugins.redis.config import Topology

__all__ = ["Redis"]

WATCH = "redis"
"""The filter that sees keys and clients."""


class Redis(QuickCommand):
    """Proxy Redis servers, without a configuration file.

    examples:
      l4proxy redis :6380 cache.example.com:6379
      l4proxy redis 127.0.0.1:6380 127.0.0.1:6379 --redis block --redis auth:file=users.acl
      l4proxy redis 127.0.0.1:6380 127.0.0.1:6379 --admin 127.0.0.1:9901
      l4proxy redis :6380 cache1:6379 cache2:6379 cache3:6379
      l4proxy redis :6380 node1:6379 node2:6379 --topology cluster
      l4proxy redis unix:/run/redis-proxy.sock unix:/run/redis.sock

    Several servers divide the keys among them, by ring_hash, unless --topology says
    that they belong together. Where LISTEN is not loopback, FLUSHALL, CONFIG, DEBUG, KEYS and the like are
    blocked; --redis block:keys=false lets single ones pass, --allow-dangerous all.
    With --admin, the "redis" filter watches: hot keys, big keys, slow commands and
    clients are at /tables.
    """

    name = "redis"
    terminal_filter = "redis_proxy"
    protocol = "redis"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--topology",
            choices=get_args(Topology),
            default="servers",
            help="how the servers belong together: as nodes of a Redis Cluster ... (default servers)",
        )
        parser.add_argument(
            "--allow-dangerous",
            action="store_true",
            help="let clients send FLUSHALL, CONFIG, KEYS ... from other machines, too",
        )

    def terminal(self, args: argparse.Namespace) -> dict[str, Any]:
        return {
            **super().terminal(args),
            "topology": args.topology,
            "block_dangerous": not args.allow_dangerous,
        }

    def draft(self, args: argparse.Namespace) -> Draft:
        if args.admin and not any(parse_use(text)["use"] == WATCH for text in args.use):
            args.use.insert(0, WATCH)  # somebody is there to look
        draft = super().draft(args)
        if len(args.upstream) > 1 and args.topology == "servers":
            draft.config["clusters"][0]["load_balancer"] = "ring_hash"
        return draft
