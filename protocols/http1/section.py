"""Header sections: from lines to fields, and what they say about the message (RFC 9112 sections 5, 6, 9).

Lines repeat even where heads do not: what a line means is looked up by its bytes, and so is what a whole section means.
Both tables are bounded, and are emptied when they are full.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from l4proxy.protocols.http1.errors import violation
from l4proxy.protocols.http1.memory import SeenOnce
from l4proxy.protocols.http_fields import Field, FieldBlock

__all__ = ["LINES", "Section", "fields_of", "request_section", "response_section"]

LINE_LIMIT = 256
"""Bytes of a line that is worth remembering."""
TABLE_SIZE = 2048
"""Lines that are remembered, by all connections of a process together."""
MAX_CONNECTION_OPTIONS = 10
"""What ``Connection`` may name. As in Envoy; no honest peer names more than three."""

_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._~!$&'()*+,;=%-]{1,255})(?::(?:[0-9]{1,5})?)?")
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade", "http2-settings"}
)
"""What concerns one connection and is never passed on."""
_TELLING = _HOP_BY_HOP | {"content-length", "expect"}
"""Fields that have to be looked at; a section without any is plain."""
_END_TO_END = frozenset(
    {"authorization", "content-length", "content-type", "content-encoding", "cookie", "expect", "forwarded", "host",
     "set-cookie", "trailer", "transfer-encoding", "via"}
)  # fmt: skip
"""What ``Connection`` cannot declare to be of this hop: a proxy in front, or one behind, relies on it."""


@dataclass(slots=True)
class Section:
    """What a header section says. ``fields`` are those that are passed on. Shared by all messages that repeat it."""

    fields: FieldBlock
    plain: FieldBlock | None = None
    """The same, where no line was taken out; else None."""
    content_length: int | None = None
    """None: there is no such field."""
    chunked: bool = False
    close: bool = False
    """``Connection: close``."""
    keep_alive: bool = False
    """``Connection: keep-alive``, which HTTP/1.0 needs."""
    persists: bool = True
    """The connection goes on behind the message, as far as its sender is concerned (RFC 9112 section 9.3)."""
    upgrade: str = ""
    """In lower case; empty where nothing is asked for, or it is one that a proxy does not switch to (h2c)."""
    expect_continue: bool = False
    underscored: bool = False
    """A field's name has an underscore, which CGI and WSGI programs cannot tell from a hyphen."""
    _hyphened: FieldBlock | None = None

    @property
    def hyphened(self) -> FieldBlock:
        """``fields`` without those whose names have underscores."""
        if self._hyphened is None:
            fields, lines = self.fields.fields, self.fields.lines
            kept = [at for at, (name, _) in enumerate(fields) if "_" not in name]
            self._hyphened = FieldBlock([fields[at] for at in kept], [lines[at] for at in kept])
        return self._hyphened


class _Lines(dict[bytes, Field]):
    """From a line to its field: parsed when it is not known."""

    def __missing__(self, line: bytes) -> Field:
        name, colon, value = line.partition(b":")
        lower = _names.get(name)
        text = value.strip(b" \t").decode("latin-1")
        if lower is None or not colon or not text.isprintable():  # printable text is a value; so is some that is not
            found = _LINE.fullmatch(line)
            if found is None:
                _diagnose(line)
            lower = _names[found[1]]
        field = (lower, text)
        hashed = hash(line)  # what ``SeenOnce.again`` does, without the call
        if hashed not in _hashes:
            _seen.add(hashed)
        elif len(line) <= LINE_LIMIT:
            if len(self) >= TABLE_SIZE:
                self.clear()
            self[line] = field
        return field


class _Names(dict[bytes, str]):
    """Names in lower case."""

    def __missing__(self, name: bytes) -> str:
        lower = name.decode().lower()
        if len(self) >= TABLE_SIZE:
            self.clear()
            LINES.clear()
            _underscored.clear()
        if "_" in lower:
            _underscored.add(lower)
        self[name] = lower
        return lower


LINES = _Lines()
_names = _Names()
_seen = SeenOnce()
_hashes = _seen.hashes
_underscored: set[str] = set()
"""Those of the names that have an underscore: as long as there is none, nobody looks for them."""
_hosts: set[str] = set()
"""Those that were sound."""
_look_up = LINES.__getitem__


def _diagnose(line: bytes) -> NoReturn:
    """Raise the error that tells what is wrong with a line."""
    for character, rule in ((b"\n", "bare_lf"), (b"\r", "bare_cr"), (b"\0", "nul")):
        if character in line:
            violation(rule, repr(line[:80]))
    if line[:1] in (b" ", b"\t"):
        violation("obs_fold")
    name, colon, value = line.partition(b":")
    if not colon:
        violation("missing_colon", repr(line[:80]))
    if name[-1:] in (b" ", b"\t"):
        violation("space_before_colon", repr(line[:80]))
    if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value):
        violation("control_character", repr(line[:80]))
    violation("bad_field_name", repr(line[:80]))


def fields_of(lines: Sequence[bytes]) -> list[Field]:
    """Raises RemoteProtocolError."""
    return list(map(_look_up, lines))


def request_section(lines: Sequence[bytes], version: str) -> Section:
    """Raises RemoteProtocolError."""
    fields = list(map(_look_up, lines))
    index = dict(fields)
    host = index.get("host")
    if host is None:
        if version == "HTTP/1.1":
            violation("missing_host")
    elif host not in _hosts and host:
        if not _AUTHORITY.fullmatch(host):
            violation("bad_host", repr(host[:80]))
        if len(_hosts) >= TABLE_SIZE:
            _hosts.clear()
        _hosts.add(host)
    repeated = len(index) != len(fields)
    if repeated and sum(name == "host" for name, _ in fields) > 1:
        violation("several_hosts")
    if _TELLING.isdisjoint(index):
        block = FieldBlock(fields, lines)
        section = Section(block, block)
        section.persists = version == "HTTP/1.1"
        if not repeated:
            block.made_index = index
    else:
        section = _telling(fields, lines, version, request=True)
    if _underscored and not _underscored.isdisjoint(index):
        section.underscored = True
    return section


def response_section(lines: Sequence[bytes], version: str) -> Section:
    """Raises RemoteProtocolError."""
    fields = list(map(_look_up, lines))
    index = dict(fields)
    if _TELLING.isdisjoint(index):
        block = FieldBlock(fields, lines)
        section = Section(block, block)
        section.persists = version == "HTTP/1.1"
        return section
    return _telling(fields, lines, version, request=False)


def _telling(fields: list[Field], lines: Sequence[bytes], version: str, *, request: bool) -> Section:
    block = FieldBlock(fields, lines)
    section = Section(block, block)
    options = _connection_options(block, section)
    section.persists = section.keep_alive or (version == "HTTP/1.1" and not section.close)
    section.content_length = _content_length(block)
    _transfer_encoding(block, section, version)
    upgrade = block.get("upgrade")
    if upgrade and "upgrade" in options and version == "HTTP/1.1":
        section.upgrade = _upgrade(upgrade)
    if request and (expect := block.get("expect")) is not None:
        if expect.lower() != "100-continue":
            violation("unknown_expectation", repr(expect[:80]))
        section.expect_continue = version == "HTTP/1.1"
    hop = _HOP_BY_HOP.union(options)
    if not hop.isdisjoint(block.index):
        kept = [at for at, (name, _) in enumerate(fields) if name not in hop]
        section.fields = FieldBlock([fields[at] for at in kept], [lines[at] for at in kept])
        section.plain = None
    return section


def _connection_options(block: FieldBlock, section: Section) -> list[str]:
    """What ``Connection`` names, apart from its two words for persistence (RFC 9110 section 7.6.1)."""
    value = block.get("connection")
    if not value:
        return []
    options = [option.strip(" \t") for option in value.lower().split(",")]
    if len(options) > MAX_CONNECTION_OPTIONS or any(
        option in _END_TO_END or option.startswith("x-forwarded-") for option in options
    ):
        violation("bad_connection", repr(value[:80]))
    section.close = "close" in options
    section.keep_alive = "keep-alive" in options and not section.close
    return [option for option in options if option]


def _content_length(block: FieldBlock) -> int | None:
    values = block.get_all("content-length")
    if not values:
        return None
    if len(values) > 1:
        violation("several_content_lengths", repr(values[:3]))
    if not _LENGTH.fullmatch(values[0]):
        violation("bad_content_length", repr(values[0][:40]))
    return int(values[0])


def _transfer_encoding(block: FieldBlock, section: Section, version: str) -> None:
    values = block.get_all("transfer-encoding")
    if not values:
        return
    if section.content_length is not None:
        violation("content_length_and_transfer_encoding")
    if version != "HTTP/1.1":
        violation("transfer_encoding_in_http10")
    if len(values) > 1:
        violation("several_transfer_encodings")
    if values[0].lower() != "chunked":
        violation("unknown_transfer_encoding", repr(values[0][:40]))
    section.chunked = True


def _upgrade(value: str) -> str:
    """The one protocol that is asked for. A list, and h2c, are ignored: the request is answered as it is."""
    protocol = value.strip(" \t").lower()
    return "" if "," in protocol or protocol.startswith(("h2c", "http/", "tls/")) else protocol
