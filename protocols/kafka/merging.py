"""One response out of two: that of a broker, and the refusal of what the broker was not asked for.

Elements of lists come behind those of the broker; what belongs to the same group, transaction or topic comes into the
same element. All else is the broker's. This decodes and encodes the whole response, so it is for the few that need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.api import Api

__all__ = ["merge"]

_IDENTITIES = ("group_id", "transactional_id", "name", "topic", "topic_id")


def merge(api: Api, version: int, body: bytes, other: bytes) -> bytes:
    """The body of a response with the elements of another one. Raises what `wire.UNREADABLE` names."""
    values = plain.decode(api.response, version, body)
    return plain.encode(api.response, version, _merged(values, plain.decode(api.response, version, other)))


def _merged(values: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for name, elements in others.items():
        if isinstance(elements, list) and elements:
            there = list(values.get(name) or ())
            for element in elements:
                _add(there, element)
            merged[name] = there
    return merged


def _add(there: list[Any], element: Any) -> None:
    if isinstance(element, Mapping):
        for identity in _IDENTITIES:
            if not element.get(identity):
                continue
            for at, one in enumerate(there):
                if one[identity] == element[identity]:
                    there[at] = _merged(one, element)
                    return
            break
    there.append(element)
