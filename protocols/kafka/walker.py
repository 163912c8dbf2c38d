"""Walkers: functions that read a few fields of a message where it lies, compiled from its declaration.

Decoding a Kafka message into objects costs more than forwarding it: a Metadata response of 10 topics takes kafka-python
240 microseconds. A proxy and an observer need few of the fields, and need them of every message. So a walker is asked
for those, by name, and is compiled for one version of one message into a flat function without a branch on the version:
neighbouring fields of a fixed size are one ``struct`` call, what was not asked for is stepped over. ::

    produce = Walker(PRODUCE.request, "acks topics(name topic_id partitions(index records))")
    acks, topics = produce.whole(9)(data, pos, end)
    for name, topic_id, partitions in topics:
        for index, records in partitions: ...

A message becomes a tuple of the fields in the order in which they were asked for, an array a list of such tuples (of
values, where its elements are no structures). Strings and ``bytes`` come as bytes, null as None, and so do fields that
the version has not. ``records`` come as a summary (`batches.Summary`), never as records. With an ``@`` behind its
name, a field comes as where it lies, ``(start, stop)``, lengths and the numbers of tags included, which is what a
lossless rewrite needs; a lone ``@`` is that of the structure in which it stands, as in ``brokers(@ host@ port@)``.

A walker comes in two kinds. ``whole(version)`` reads a message that lies complete in ``data``. ``streaming(version)``
is a generator for one that does not, and is given the chunks as they come; nothing of records or of other long fields
is ever kept, so that frames of megabytes cost what their few interesting bytes cost. What it reads of an array with
``*`` behind its name it hands to ``each``, one element at a time, instead of returning a list.

Both raise `wire.UNREADABLE` when the bytes are not such a message, and read no byte twice, so lying counts and
lengths end at the end of what is there. The generated source shows in tracebacks; ``Walker.source`` returns it.
"""

from __future__ import annotations

import linecache
import re
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from l4proxy.protocols.kafka import batches, wire
from l4proxy.protocols.kafka.schema import FIXED, Field, Schema
from l4proxy.protocols.kafka.wire import Chunk, Unreadable

__all__ = ["Selection", "Stream", "Walk", "Walker", "select"]

Walk = Callable[[bytes, int, int], tuple[Any, ...]]
"""``walk(data, pos, end)``: the message is ``data[pos:end]``."""
Each = Callable[[tuple[Any, ...]], object]
Stream = Callable[[bytes, int, int, Each], Generator[int, Chunk, tuple[tuple[Any, ...], bytes, int, int]]]
"""``yield from stream(data, pos, end, each)``: the first chunk of a message, then more. Returns what was read, and
where that ends."""


@dataclass(frozen=True, slots=True)
class Selection:
    """One field that was asked for. ``span``: where it lies; ``each``: its elements one at a time."""

    name: str
    span: bool = False
    each: bool = False
    fields: tuple[Selection, ...] = ()


_WORD = re.compile(r"\s*(?:(?P<name>\w+)(?P<mark>[@*]?)(?P<open>\()?|(?P<self>@)|(?P<close>\)))")


def select(text: str) -> tuple[Selection, ...]:
    """Read a selection: ``acks topics(name partitions(index records))``. Raises ValueError."""
    stack: list[list[Selection]] = [[]]
    opened: list[tuple[str, str]] = []
    pos = 0
    text = text.strip()
    while pos < len(text):
        word = _WORD.match(text, pos)
        if word is None:
            raise ValueError(f"not a selection: {text[pos:]!r}")
        pos = word.end()
        if word["close"]:
            if not opened:
                raise ValueError("a parenthesis too many")
            name, mark = opened.pop()
            below = tuple(stack.pop())
            stack[-1].append(Selection(name, each=mark == "*", fields=below))
        elif word["open"]:
            opened.append((word["name"], word["mark"]))
            stack.append([])
        else:
            stack[-1].append(Selection(word["name"] or "", span=word["mark"] != "*" and "@" in word[0]))
    if opened:
        raise ValueError(f"{opened[-1][0]} is not closed")
    return tuple(stack[0])


class Walker:
    """Reads the fields that ``selection`` names of the message that ``schema`` declares, in any of its versions.

    Functions are compiled when they are first asked for, which takes about a millisecond, and kept. Raises ValueError
    for what the message has not in any version."""

    def __init__(self, schema: Schema, selection: str) -> None:
        self.schema = schema
        self.selection = select(selection)
        self.text = selection
        """The selection, as it was given."""
        self._whole: dict[int, Walk] = {}
        self._streaming: dict[int, Stream] = {}
        _check(schema.fields, self.selection)

    def whole(self, version: int) -> Walk:
        walk = self._whole.get(version)
        if walk is None:
            walk = self._whole[version] = self._compile(version, streaming=False)
        return walk

    def streaming(self, version: int) -> Stream:
        stream = self._streaming.get(version)
        if stream is None:
            stream = self._streaming[version] = self._compile(version, streaming=True)
        return stream

    def source(self, version: int, *, streaming: bool = False) -> str:
        """The function as text, for people."""
        return _Source(self.schema, version, streaming).function(self.selection)

    def _compile(self, version: int, *, streaming: bool) -> Any:
        source = _Source(self.schema, version, streaming)
        text = source.function(self.selection)
        filename = f"<kafka walker {self.text} version {version}{' streaming' if streaming else ''}>"
        linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
        scope = {**_SCOPE, **source.scope}
        exec(compile(text, filename, "exec"), scope)
        return scope["walk"]


def _check(fields: tuple[Field, ...], selections: tuple[Selection, ...]) -> None:
    there = {field.name: field for field in fields}
    for selection in selections:
        if selection.name:
            field = there.get(selection.name)
            if field is None:
                raise ValueError(f"there is no field {selection.name!r} among {', '.join(there)}")
            if bool(selection.fields) != (field.type == "struct" and not selection.span):
                raise ValueError(f"{field.name} is {'a structure' if field.fields else 'no structure'}")
            _check(field.fields, selection.fields)


def _trailing(end: int, pos: int) -> None:
    """The walk did not end where the message does."""
    if pos > end:
        raise Unreadable("the message ends within a field", code="truncated")
    raise Unreadable(f"{end - pos} bytes behind the end of the message", code="trailing_bytes")


_SCOPE: dict[str, Any] = {
    "decode_uvarint": wire.decode_uvarint,
    "long_uvarint": wire.long_uvarint,
    "more": wire.more,
    "negative": wire.negative,
    "skip_tags": wire.skip_tags,
    "stream_records": batches.stream_records,
    "stream_tags": wire.stream_tags,
    "stream_uvarint": wire.stream_uvarint,
    "summarise": batches.summarise,
    "too_long": wire.too_long,
    "trailing": _trailing,
    "unpack_from": struct.unpack_from,
}
_MORE = "data, pos, end = yield from more(data, pos, end, {})"


class _Source:
    """Writes one function.

    Fields of a fixed size are first put off (``_run``), together with the length of what follows them, and written as
    one ``unpack`` when something comes whose place depends on them (``_flush``).
    """

    def __init__(self, schema: Schema, version: int, streaming: bool) -> None:
        self.schema = schema
        self.version = version
        self.flexible = schema.is_flexible(version)
        self.streaming = streaming
        self.scope: dict[str, Any] = {}
        self.lines: list[str] = []
        self._indent = 1
        self._names = 0
        self._run: list[tuple[str, str]] = []

    def function(self, selections: tuple[Selection, ...]) -> str:
        head = "def walk(data, pos, end, each):" if self.streaming else "def walk(data, pos, end):"
        result = self._tuple(self.schema.fields, selections, tags=self.schema.whole)
        self._flush()
        if self.streaming:
            self._write("if pos > end:", f"    {_MORE.format(0)}", f"return {result}, data, pos, end")
            self._write("yield")  # a generator also where nothing above yields
        else:
            self._write(f"if pos {'!=' if self.schema.whole else '>'} end:", "    trailing(end, pos)")
            self._write(f"return {result}")
        return "\n".join([head, *self.lines, ""])

    # Writing

    def _write(self, *lines: str) -> None:
        self.lines.extend("    " * self._indent + line for line in lines)

    def _name(self, field: str) -> str:
        self._names += 1
        return f"{field}_{self._names}"

    def _later(self, format: str, name: str = "") -> None:
        self._run.append((format, name))

    def _flush(self) -> None:
        """Read the fixed fields that were put off."""
        run, self._run = self._run, []
        if not run:
            return
        size = struct.calcsize(">" + "".join(format for format, _ in run))
        names = [name for _, name in run if name]
        if names:
            formats = "".join(format if name else f"{struct.calcsize('>' + format)}x" for format, name in run)
            unpack = "unpack_" + formats.replace("?", "t")
            self.scope[unpack] = struct.Struct(">" + formats).unpack_from
            self._need(size)
            self._write(f"{', '.join(names)}{',' * (len(names) == 1)} = {unpack}(data, pos)")
        self._write(f"pos += {size}")

    def _need(self, size: int | str) -> None:
        if self.streaming:
            self._write(f"if end - pos < {size}:", f"    {_MORE.format(size)}")

    def _uvarint(self, name: str) -> None:
        self._flush()
        if self.streaming:
            self._write("if pos < end and data[pos] < 128:", f"    {name} = data[pos]", "    pos += 1", "else:")
            self._write(f"    {name}, data, pos, end = yield from stream_uvarint(data, pos, end)")
        else:
            self._write(f"{name} = data[pos]", "pos += 1", f"if {name} > 127:")
            self._write(f"    {name}, pos = long_uvarint(data, pos, {name})")

    def _length(self, format: str, field: str) -> str:
        """Read a length or count; return its name. In flexible versions it is one more, and 0 is null."""
        name = self._name(f"{field}_size")
        if self.flexible:
            self._uvarint(name)
            self._write(f"{name} -= 1")
        else:
            self._later(format, name)
            self._flush()
        return name

    # Structures

    def _tuple(self, fields: tuple[Field, ...], chosen: tuple[Selection, ...], *, tags: bool = True) -> str:
        """Read a structure; return the expression of what was chosen of it."""
        own_span = next((selection for selection in chosen if not selection.name), None)
        start = self._here() if own_span else ""
        values: dict[Selection, str] = {}
        there = [field for field in fields if field.exists(self.version)]
        for field in there:
            if field.tag is None:
                values |= self._field(field, [selection for selection in chosen if selection.name == field.name])
        if self.flexible and tags:
            values |= self._tags([field for field in there if field.tag is not None], chosen)
        if own_span:
            values[own_span] = self._span(start)
        items = [values.get(selection, "None") for selection in chosen]
        return f"({', '.join(items)}{',' * (len(items) == 1)})"

    def _here(self) -> str:
        if self.streaming:
            raise ValueError("where a field lies cannot be told of a message that is not kept")
        self._flush()
        name = self._name("start")
        self._write(f"{name} = pos")
        return name

    def _span(self, start: str) -> str:
        self._flush()
        name = self._name("span")
        self._write(f"{name} = {start}, pos")
        return name

    def _tags(self, fields: list[Field], chosen: tuple[Selection, ...]) -> dict[Selection, str]:
        """Step over the tagged fields of a structure, and read those of them that were chosen."""
        names = {selection.name for selection in chosen}
        fields = [field for field in fields if field.name in names]
        self._flush()
        if not fields:
            if self.streaming:
                self._write("if pos < end and not data[pos]:", "    pos += 1", "else:")
                self._write("    data, pos, end = yield from stream_tags(data, pos, end)")
            else:
                self._write("if data[pos]:", "    pos = skip_tags(data, pos)", "else:", "    pos += 1")
            return {}
        values = {selection: self._name(selection.name) for selection in chosen if selection.name in
                  {field.name for field in fields}}  # fmt: skip
        self._write(f"{' = '.join(values.values())} = None")
        count, tag, size = self._name("tags"), self._name("tag"), self._name("tag_size")
        self._uvarint(count)
        self._write(f"for _ in range({count}):")
        self._indent += 1
        spans = any(selection.span for selection in values)
        start = self._here() if spans else ""
        self._uvarint(tag)
        self._uvarint(size)
        stop = self._name("stop")
        if not self.streaming:
            self._write(f"{stop} = pos + {size}")
        for at, field in enumerate(fields):
            self._write(f"{'elif' if at else 'if'} {tag} == {field.tag}:")
            self._indent += 1
            self._tagged(field, {selection: name for selection, name in values.items() if selection.name == field.name},
                         start, stop)  # fmt: skip
            self._indent -= 1
        self._write("else:", f"    pos += {size}")
        self._indent -= 1
        return values

    def _tagged(self, field: Field, values: dict[Selection, str], start: str, stop: str) -> None:
        read = [selection for selection in values if not selection.span]
        for selection, value in self._field(field, read).items() if read else ():
            self._flush()
            self._write(f"{values[selection]} = {value}")
        for selection, name in values.items():
            if selection.span:
                self._write(f"{name} = {start}, {stop}")
        if not read:
            self._write(f"pos = {stop}")
        elif not self.streaming:
            self._write(f"if pos != {stop}:", f"    trailing({stop}, pos)")

    # Fields

    def _field(self, field: Field, chosen: list[Selection]) -> dict[Selection, str]:
        """Read a field, or step over it; return the expression for each selection of it."""
        spans = [selection for selection in chosen if selection.span]
        values = [selection for selection in chosen if not selection.span]
        start = self._here() if spans else ""
        value = self._array(field, values) if field.array else self._single(field, values)
        found = dict.fromkeys(values, value)
        if spans:
            found |= dict.fromkeys(spans, self._span(start))
        return found

    def _single(self, field: Field, chosen: list[Selection]) -> str:
        if field.type in FIXED:
            name = self._name(field.name) if chosen else ""
            self._later(FIXED[field.type], name)
            return name
        if field.type == "struct":
            return self._struct(field, chosen)
        if self.flexible and not self.streaming and field.type != "records":
            return self._compact(field, bool(chosen))
        size = self._length("h" if field.type == "string" else "i", field.name)
        if not chosen:
            self._write(f"if {size} > 0:", f"    pos += {size}")
            self._refuse_negative(size)
            return ""
        name = self._name(field.name)
        self._write(f"{name} = None", f"if {size} >= 0:")
        self._indent += 1
        if field.type == "records":
            if self.streaming:
                self._write(f"{name}, data, pos, end = yield from stream_records(data, pos, end, {size})")
            else:
                self._write(f"{name} = summarise(data, pos, pos + {size})", f"pos += {size}")
        else:
            if self.streaming:
                self._write(f"if {size} > {wire.TEXT_LIMIT}:", f"    too_long({size})")
            self._need(size)
            self._write(f"{name} = data[pos : pos + {size}]", f"pos += {size}")
        self._indent -= 1
        self._refuse_negative(size)
        return name

    def _compact(self, field: Field, chosen: bool) -> str:
        """A string or bytes of a flexible version, in as few steps as can be: it is what messages are made of."""
        self._flush()
        size = self._name(f"{field.name}_size")
        if not chosen:
            self._write(f"{size} = data[pos]", f"if {size} < 128:", f"    pos += {size} or 1", "else:")
            self._write(f"    {size}, pos = long_uvarint(data, pos + 1, {size})", f"    pos += max({size} - 1, 0)")
            return ""
        start, name = self._name("start"), self._name(field.name)
        self._write(f"{size} = data[pos]", f"{start} = pos + 1", f"if {size} > 127:")
        self._write(f"    {size}, {start} = long_uvarint(data, {start}, {size})")
        self._write(f"pos = {start} + {size} - 1 if {size} else {start}")
        self._write(f"{name} = data[{start}:pos] if {size} else None")
        return name

    def _refuse_negative(self, size: str, word: str = "elif") -> None:
        if not self.flexible:
            self._write(f"{word} {size} < -1:", f"    negative({size})")

    def _struct(self, field: Field, chosen: list[Selection]) -> str:
        fields = chosen[0].fields if chosen else ()
        if not field.nullable:
            return self._tuple(field.fields, fields)
        mark, name = self._name("is_there"), self._name(field.name)
        self._later("b", mark)
        self._flush()
        self._write(f"{name} = None", f"if {mark} >= 0:")
        self._indent += 1
        value = self._tuple(field.fields, fields)
        self._flush()
        if chosen:
            self._write(f"{name} = {value}")
        self._indent -= 1
        return name

    def _array(self, field: Field, chosen: list[Selection]) -> str:
        size = self._length("i", field.name)
        width = self._width(field)
        if not chosen and width:
            self._write(f"if {size} > 0:", f"    pos += {width} * {size}")
            self._refuse_negative(size)
            return ""
        if chosen and field.type in FIXED:
            return self._numbers(field, size, width)
        selection = chosen[0] if chosen else None
        name = self._name(field.name)
        collected = selection is not None and not (selection.each and self.streaming)
        if collected:
            self._write(f"{name} = [] if {size} >= 0 else {'None' if self.flexible else f'negative({size})'}")
        else:
            if selection:
                self._write(f"{name} = None")
            self._refuse_negative(size, word="if")
        self._write(f"for _ in range({size}):" if collected else f"for _ in range({size}) if {size} > 0 else ():")
        self._indent += 1
        if field.type == "struct":
            value = self._tuple(field.fields, selection.fields if selection else ())
        else:
            value = self._single(replace(field, array=False, nullable=False), chosen)
        self._flush()
        if collected:
            self._write(f"{name}.append({value})")
        elif selection:
            self._write(f"each({value})")
        self._indent -= 1
        return name

    def _numbers(self, field: Field, size: str, width: int) -> str:
        name = self._name(field.name)
        self._write(f"{name} = None", f"if {size} >= 0:")
        self._indent += 1
        self._need(f"{width} * {size}")
        format = FIXED[field.type]
        code = f"'>' + {size} * '{format}'" if field.type == "uuid" else f"f'>{{{size}}}{format}'"
        self._write(f"{name} = list(unpack_from({code}, data, pos))", f"pos += {width} * {size}")
        self._indent -= 1
        self._refuse_negative(size)
        return name

    def _width(self, field: Field) -> int:
        """Bytes of each element of an array; 0 where they are not all of one size."""
        if field.type in FIXED:
            return struct.calcsize(">" + FIXED[field.type])
        if field.type != "struct" or self.flexible:
            return 0
        there = [inner for inner in field.fields if inner.exists(self.version)]
        if any(inner.array or inner.type not in FIXED for inner in there):
            return 0
        return sum(self._width(inner) for inner in there)
