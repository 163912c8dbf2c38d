"""Every API of Kafka 4.1, and of the versions before it, by key and by name."""

from __future__ import annotations

from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.declarations import cluster, groups, records, security, share, topics, transactions
from l4proxy.protocols.kafka.declarations.controller import CONTROLLER_APIS

__all__ = ["APIS", "BY_NAME", "OTHERS", "api_name"]

_MODULES = (records, cluster, groups, transactions, security, topics, share)

APIS: dict[int, Api] = {
    api.key: api
    for api in sorted(
        [*(getattr(module, name) for module in _MODULES for name in module.__all__), *CONTROLLER_APIS],
        key=lambda api: api.key,
    )
}
BY_NAME: dict[str, Api] = {api.name: api for api in APIS.values()}


OTHERS = -1
"""Stands for keys that are not told apart."""


def api_name(key: int) -> str:
    """``Produce``; for a key that is not known here, ``api_1234``, and ``other`` for `OTHERS`."""
    api = APIS.get(key)
    if key == OTHERS:
        return "other"
    return f"api_{key}" if api is None else api.name
