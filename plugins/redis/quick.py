"""``l4proxy redis``."""

from __future__ import annotations

import argparse
from typing import Any

from l4proxy.cli.quick import Draft, QuickCommand

__all__ = ["Redis"]


class Redis(QuickCommand):
    """Proxy Redis servers, without a configuration file.

    examples:
      l4proxy redis :6380 cache.example.com:6379
      l4proxy redis 127.0.0.1:6380 127.0.0.1:6379 --redis block --redis auth:file=users.acl
      l4proxy redis 127.0.0.1:6380 127.0.0.1:6379 --use redis --admin 127.0.0.1:9901
      l4proxy redis unix:/run/redis-proxy.sock unix:/run/redis.sock
    """

    name = "redis"
    terminal_filter = "redis_proxy"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--redis",
            metavar="NAME[:key=value,...]",
            action="append",
            default=[],
            help="use a message filter of Redis; may be repeated (l4proxy explain lists them)",
        )

    def terminal(self, args: argparse.Namespace) -> dict[str, Any]:
        from l4proxy.cli.use import parse_use

        filters = [parse_use(text) for text in args.redis]
        return {**super().terminal(args), **({"filters": filters} if filters else {})}

    def draft(self, args: argparse.Namespace) -> Draft:
        draft = super().draft(args)
        last = len(args.use)
        for at, text in enumerate(args.redis):
            draft.options[f"listeners[0].filters[{last}].filters[{at}]"] = f"--redis {text}"
        return draft
