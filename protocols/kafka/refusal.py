"""Saying no: the response to a request that is not to be done, with an error code where a client looks for it.

Some APIs have one error for the whole response, others one for each thing that was asked for, and clients that do not
find one there wait, or go on as if all was well. So a response is made that mirrors the request: for every topic,
partition, group or resource in it an element with its names and the error. Which list of a response answers which list
of a request is nearly always seen from their names; `_ANSWERS` has the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.schema import Field
from l4proxy.protocols.kafka.wire import Unreadable

__all__ = [
    "CLUSTER_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "INVALID_RECORD",
    "MESSAGE_TOO_LARGE",
    "POLICY_VIOLATION",
    "TOPIC_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "UNKNOWN_TOPIC_OR_PARTITION",
    "encode_error",
    "error_values",
]

UNKNOWN_TOPIC_OR_PARTITION = 3
MESSAGE_TOO_LARGE = 10
TOPIC_AUTHORIZATION_FAILED = 29
GROUP_AUTHORIZATION_FAILED = 30
CLUSTER_AUTHORIZATION_FAILED = 31
POLICY_VIOLATION = 44
TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53
INVALID_RECORD = 87

_ANSWERS = {
    ("Fetch", "responses"): "topics",
    ("ShareFetch", "responses"): "topics",
    ("AddPartitionsToTxn", "results_by_transaction"): "transactions",
    ("AddPartitionsToTxn", "results_by_topic_v3_and_below"): "v3_and_below_topics",
    ("AddPartitionsToTxn", "topic_results"): "topics",
    ("AlterUserScramCredentials", "results"): "deletions upsertions",
}
"""Which lists of a request a list of its response answers, where there are several that it could be."""
_ERRORS = {"error_code", "partition_error_code"}
_RENAMED = {
    "user": "name",
    "topic_name": "name",
    "name": "topic_name",
    "partition": "partition_index",
    "partition_index": "partition",
}
_ONLY_WITHOUT_ELEMENTS = {"Fetch", "ShareFetch", "ShareAcknowledge"}
"""Their error of the whole is about the session, and stands only where there is nothing else to put one."""
_NOTHING = -1
_NONE = {
    "base_offset", "log_append_time_ms", "log_start_offset", "high_watermark", "last_stable_offset", "timestamp",
    "preferred_read_replica", "offset", "leader_epoch", "leader_id", "end_offset", "committed_offset",
    "committed_leader_epoch", "node_id", "port", "generation_id", "producer_id", "producer_epoch", "member_epoch",
    "low_watermark", "num_partitions", "replication_factor", "topic_config_error_code",
}  # fmt: skip
"""Numbers that are -1 where there is nothing to say."""


def encode_error(
    api: Api, version: int, correlation_id: int, body: bytes, code: int, message: str | None = None
) -> bytes:
    """The response, a whole frame, to a request whose body is ``body``. Raises `wire.Unreadable` where that is no such
    request, or no such response is known."""
    from l4proxy.protocols.kafka import messages

    if not (api.request.whole and api.response.whole):
        raise Unreadable(f"{api.name} is not known well enough to refuse it", code="undecodable")
    request = messages.decode_request(api, version, body)
    return messages.encode_response(api, version, correlation_id, **error_values(api, version, request, code, message))


def error_values(
    api: Api, version: int, request: Mapping[str, Any], code: int, message: str | None = None
) -> dict[str, Any]:
    """The response as plain data."""
    return _Mirror(api, version, code, message).struct(api.response.fields, api.request.fields, request, top=True)


class _Mirror:
    def __init__(self, api: Api, version: int, code: int, message: str | None) -> None:
        self._api = api
        self._version = version
        self._code = code
        self._message = message

    def struct(
        self, fields: Iterable[Field], asked: Iterable[Field], request: Mapping[str, Any], *, top: bool = False
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        arrays = [field for field in asked if field.array and request.get(field.name) is not None]
        for field in fields:
            if not field.exists(self._version) or field.tag is not None:
                continue
            if field.array:
                sources = self._sources(field, arrays)
                values[field.name] = [
                    element for source in sources for element in self._elements(field, source, request[source.name])
                ]
            elif field.name == "error_message":
                values[field.name] = self._message if field.nullable else self._message or ""
            elif field.name not in _ERRORS:
                copied = self._copied(field, request)
                if copied is not None:
                    values[field.name] = copied
        has_elements = any(values[field.name] for field in fields if field.array and values.get(field.name))
        if not (top and has_elements and self._api.name in _ONLY_WITHOUT_ELEMENTS):
            values |= {field.name: self._code for field in fields if _is_error(field, self._version)}
        return values

    def _sources(self, field: Field, arrays: list[Field]) -> list[Field]:
        """What of the request a list with errors answers."""
        if not _has_error(field, self._version):
            return []
        names = _ANSWERS.get((self._api.name, field.name), field.name).split()
        named = [array for array in arrays if array.name in names]
        return named or (arrays if len(arrays) == 1 else [])

    def _elements(self, field: Field, source: Field, elements: Iterable[Any]) -> list[dict[str, Any]]:
        made = []
        for element in elements:
            if isinstance(element, Mapping):
                made.append(self.struct(field.fields, source.fields, element))
                continue
            one = self.struct(field.fields, (), {})
            name = next(
                inner.name
                for inner in field.fields
                if inner.exists(self._version) and inner.type == source.type and "error" not in inner.name
            )
            made.append({**one, name: element})
        return made

    def _copied(self, field: Field, request: Mapping[str, Any]) -> Any:
        if field.name == "session_id":  # none was made
            return None
        for name in (field.name, _RENAMED.get(field.name, "")):
            if name in request and not isinstance(request[name], list | dict):
                return request[name]
        return _NOTHING if field.name in _NONE else None


def _is_error(field: Field, version: int) -> bool:
    return field.name in _ERRORS and field.exists(version)


def _has_error(field: Field, version: int) -> bool:
    return field.exists(version) and any(_is_error(one, version) or _has_error(one, version) for one in field.fields)
