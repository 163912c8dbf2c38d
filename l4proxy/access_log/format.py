"""Formats: text with operators in it, or a table of such texts for JSON, compiled into a function of a record.

``%NAME%`` is an operator, ``%NAME(argument)%`` one with an argument, ``:10`` before the last percent sign cuts what it
prints to ten characters, and ``%%`` is a percent sign. What there is not prints as ``-``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from l4proxy.access_log.operator_table import Attribute
from l4proxy.access_log.operators import OPERATORS
from l4proxy.terminal import printable

if TYPE_CHECKING:
    from l4proxy.access_log.operator_table import OperatorTable, Reader
    from l4proxy.access_log.record import AccessRecord

__all__ = ["DEFAULT_JSON", "DEFAULT_TEXT", "Format", "check_format", "compile_json", "compile_line", "compile_text"]

Format = str | dict[str, Any]
"""As configured: text is a line of text, a table is a JSON object; ``"text"`` and ``"json"`` are the two below."""

DEFAULT_TEXT = (
    "%START_TIME% #%CONNECTION_ID% %LISTENER_NAME% %DOWNSTREAM_REMOTE_ADDRESS% > %UPSTREAM_CLUSTER% %UPSTREAM_HOST%"
    " received=%BYTES_RECEIVED% sent=%BYTES_SENT% ms=%DURATION% flags=%RESPONSE_FLAGS% %CLOSE_REASON%"
)
DEFAULT_JSON: dict[str, Any] = {
    "start_time": "%START_TIME%",
    "connection_id": "%CONNECTION_ID%",
    "listener": "%LISTENER_NAME%",
    "filter_chain": "%FILTER_CHAIN_NAME%",
    "protocol": "%PROTOCOL%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "downstream_tls_version": "%DOWNSTREAM_TLS_VERSION%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_request_attempt_count": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "response_flags": "%RESPONSE_FLAGS%",
    "closed_by": "%CLOSE_REASON(who)%",
    "close_phase": "%CLOSE_REASON(phase)%",
    "close_reason": "%CLOSE_REASON(detail)%",
    "close_filter": "%CLOSE_REASON(filter)%",
    "close_errno": "%CLOSE_REASON(errno)%",
    "close_message": "%CLOSE_REASON(message)%",
}

_PRINTABLE_ASCII = bytes(range(0x20, 0x7F))
_TOKEN = re.compile(
    r"%(?:"
    r"(?P<percent>%)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)(?:\((?P<argument>.*?)\)(?=%|:[0-9]+%))?(?::(?P<length>[0-9]+))?%"
    r"|(?P<wrong>))",
    re.DOTALL,
)


def compile_line(format: Format, operators: OperatorTable = OPERATORS) -> Callable[[AccessRecord], str]:
    """Compile a format as configured into a function that makes the line of a record, without its line end. Raises
    ValueError with what is wrong."""
    if format in ("text", "json"):
        return _by_type(format, operators)
    if isinstance(format, str):
        return compile_text(format, operators)
    from json import JSONEncoder

    fill = compile_json(format, operators)
    encode = JSONEncoder(default=str, separators=(",", ":")).encode
    return lambda record: encode(fill(record))


def _by_type(format: str, operators: OperatorTable) -> Callable[[AccessRecord], str]:
    """The usual line of each type of record: requests have other things to say than connections."""
    lines: dict[type[AccessRecord], Callable[[AccessRecord], str]] = {}

    def line(record: AccessRecord) -> str:
        made = lines.get(type(record))
        if made is None:
            usual: Format = record.default_text or DEFAULT_TEXT
            if format == "json":
                usual = dict(record.default_json or DEFAULT_JSON)
            made = lines[type(record)] = compile_line(usual, operators)
        return made(record)

    return line


def check_format(format: Format) -> None:
    """For the options of a sink, whose field ``format`` this is. Raises ValueError as the configuration wants it."""
    try:
        compile_line(format)
    except ValueError as error:
        raise ValueError(f"format: {error}") from None


def compile_text(format: str, operators: OperatorTable = OPERATORS) -> Callable[[AccessRecord], str]:
    template, readers = _parse(format, operators)
    if not readers:
        raise ValueError(f"the format {format!r} has no operator in it (such as %DURATION%)")

    fill = _fill(template, readers)
    printable_ascii = _PRINTABLE_ASCII if template.isascii() and template.isprintable() else b""

    def line(record: AccessRecord) -> str:
        try:
            text = fill(record)
        except AttributeError:  # a record of another type
            pass
        else:
            # One look at all of it, which is much faster than ``isprintable``: it hardly ever has anything else in it.
            if text.isascii() and not text.encode().translate(None, printable_ascii):
                return text
        return template % tuple([_text(read(record)) for read in readers])

    return line


def _fill(template: str, readers: list[Reader]) -> Callable[[AccessRecord], str]:
    """A function that fills in the template, made as a function of its own: a line is made for every request, and a
    call per value would cost as much as all the rest. It is one f-string. Its source holds the template's texts as
    literals and paths of attributes, and nothing else that comes from anywhere. Raises AttributeError for a record that
    lacks one."""
    names: dict[str, Any] = {"dash": "-", **{f"read_{at}": read for at, read in enumerate(readers)}}
    parts, numbers = [], iter(range(len(readers)))
    for piece in re.split("(%%|%s)", template):
        if piece != "%s":
            parts.append(repr("%" if piece == "%%" else piece))
            continue
        at = next(numbers)
        read = readers[at]
        if isinstance(read, Attribute):
            *others, last = read.paths
            value = " or ".join([*map(_if_there, others), f"record.{last}"])
            if read.show is not None:
                names[f"show_{at}"] = read.show
                value = f"show_{at}({value})"
            value = f"{value} or dash" if read.text else value
        else:
            value = f"value if (value := read_{at}(record)) or value == 0 else dash"
        parts.append(f"f'{{({value})!s}}'")
    fill: Callable[[AccessRecord], str] = eval(f"lambda record: {' '.join(parts)}", names)
    return fill


def _if_there(path: str) -> str:
    """The source of an attribute whose owner the record may not have."""
    owner, _, _ = path.rpartition(".")
    return f"(record.{owner} and record.{path})" if owner else f"record.{path}"


def compile_json(
    template: Mapping[str, Any], operators: OperatorTable = OPERATORS
) -> Callable[[AccessRecord], dict[str, Any]]:
    """Compile a table. A text that is nothing but one operator becomes that operator's value, of its own type and null
    where there is none; other texts are filled in; numbers, true and false stay."""
    return _json_reader(template, "", operators)


def _json_reader(value: Any, path: str, operators: OperatorTable) -> Reader:
    if isinstance(value, Mapping):
        fields = [(key, _json_reader(item, f"{path}.{key}" if path else key, operators)) for key, item in value.items()]
        return lambda record: {key: read(record) for key, read in fields}
    if isinstance(value, list | tuple):
        readers = [_json_reader(item, f"{path}[{at}]", operators) for at, item in enumerate(value)]
        return lambda record: [read(record) for read in readers]
    if not isinstance(value, str):
        return lambda _record: value
    try:
        return _json_text_reader(value, operators)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _json_text_reader(text: str, operators: OperatorTable) -> Reader:
    template, readers = _parse(text, operators)
    if template == "%s":
        return readers[0]
    return lambda record: template % tuple([_text(read(record)) for read in readers])


def _parse(format: str, operators: OperatorTable) -> tuple[str, list[Reader]]:
    """Return a template for Python's ``%`` with a ``%s`` for each reader."""
    readers: list[Reader] = []

    def replace(found: re.Match[str]) -> str:
        if found["percent"]:
            return "%%"
        if found["wrong"] is not None:
            near = format[found.start() : found.start() + 20]
            raise ValueError(f"{near!r} is not an operator (%NAME%); a percent sign is written %%")
        read = operators.reader(found["name"], found["argument"])
        readers.append(_cut(read, int(found["length"])) if found["length"] else read)
        return "%s"

    return _TOKEN.sub(replace, format), readers


def _cut(read: Reader, length: int) -> Reader:
    def read_cut(record: Any) -> str | None:
        value = read(record)
        return None if value is None else _text(value)[:length]

    return read_cut


def _text(value: Any) -> str:
    """On one line, whatever a client has sent."""
    if value is None or value == "":
        return "-"
    return printable(value if isinstance(value, str) else str(value))
