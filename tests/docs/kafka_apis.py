"""The page with every API of Kafka and what is read of it, made of the tables that do it.

cd tests && ../.venv/bin/python -m docs.kafka_apis       # writes it anew
"""

from __future__ import annotations

from collections.abc import Sequence

from l4proxy.plugins.kafka.reading import READINGS
from l4proxy.protocols.kafka import kafka_python
from l4proxy.protocols.kafka.api import Api
from l4proxy.protocols.kafka.apis import APIS
from l4proxy.protocols.kafka.walker import Walker
from source_tree import ROOT

__all__ = ["PATH", "page"]

PATH = ROOT / "contrib" / "guides" / "kafka-apis.md"
HEAD = """# The APIs of Kafka, and what is read of them

Each request and response passes as it is, whatever is known of it. Of those below, these fields are **walked**: found
where they lie, without decoding anything else, in every version. A name with `*` is read one element at a time,
however long the array; `records` are their batches' headers. What has no fields here passes **opaque**: header, size
and time are seen, and nothing else. Whole messages are **decoded** only where somebody asks, a filter or `--show`, by
kafka-python's classes, or by the declarations here where it has none.

Keys and versions that are not in this table, of a later Kafka or of nobody's, pass, too, and are counted in
`l4proxy_kafka_opaque_requests_total`. [Watching Kafka](kafka.md) says what becomes of what is read. This page is made
by `tests/docs/kafka_apis.py`.

"""
COLUMNS = ("key", "API", "versions", "flexible from", "walked in requests", "walked in responses", "decoded by")


def page() -> str:
    return HEAD + _line(COLUMNS) + _line(["---"] * len(COLUMNS)) + "".join(_line(_row(api)) for api in APIS.values())


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _row(api: Api) -> list[str]:
    request, response = READINGS[api.key]
    flexible = "" if api.flexible is None else str(api.flexible)
    return [
        str(api.key), api.name, _versions(api.first, api.last), flexible, _walked(request), _walked(response),
        _decoded_by(api),
    ]  # fmt: skip


def _versions(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _walked(walker: Walker | None) -> str:
    return "" if walker is None else f"`{walker.text}`"


def _decoded_by(api: Api) -> str:
    if not api.is_declared:
        return ""
    newest = min(kafka_python.newest(api.key), api.last)
    theirs = f"kafka-python {_versions(api.first, newest)}" if newest >= api.first else ""
    ours = f"l4proxy {_versions(max(newest + 1, api.first), api.last)}" if newest < api.last else ""
    return ", ".join(filter(None, (theirs, ours)))


if __name__ == "__main__":
    PATH.write_text(page())
