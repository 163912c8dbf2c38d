"""Header fields as filters change them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from l4proxy.protocols.http_fields import Field, FieldBlock, check_field, encode_line

__all__ = ["Headers"]


class Headers:
    """The header or trailer fields of one message: names without regard to case, in the order of the wire.

    ::

        request.headers["X-Tenant"] = "a"      # in place of all of that name
        request.headers.add("Via", "1.1 l4proxy")
        if "authorization" in request.headers: ...

    Made of a `FieldBlock` that other messages may share; the first change makes a copy. ``block`` is the block again:
    the same one, where nothing was changed, and what was not changed keeps its spelling on the wire.
    """

    __slots__ = ("_block", "_fields", "_lines")

    def __init__(self, block: FieldBlock) -> None:
        self._block: FieldBlock | None = block
        self._fields: list[Field] = []
        self._lines: list[bytes] = []

    @classmethod
    def of(cls, fields: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
        """Raises ValueError for what is no field."""
        headers = cls(FieldBlock(()))
        for name, value in fields.items() if isinstance(fields, Mapping) else fields:
            headers.add(name, value)
        return headers

    @property
    def block(self) -> FieldBlock:
        if self._block is None:
            self._block = FieldBlock(self._fields, tuple(self._lines))
        return self._block

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value. Several fields of one name are one value, joined by commas (``Cookie`` by semicolons)."""
        return self.block.index.get(name.lower(), default)

    def get_all(self, name: str) -> list[str]:
        return self.block.get_all(name.lower())

    def items(self) -> tuple[Field, ...]:
        """Every field by itself, its name in lower case."""
        return self.block.fields

    def __getitem__(self, name: str) -> str:
        return self.block.index[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self.block.index

    def __iter__(self) -> Iterator[str]:
        """The names, each once."""
        return iter(self.block.index)

    def __len__(self) -> int:
        return len(self.block.fields)

    def add(self, name: str, value: str) -> None:
        """Add a field behind all others. Raises ValueError for what is no field."""
        check_field(name, value)
        self._copy()
        self._fields.append((name.lower(), value))
        self._lines.append(encode_line(name, value))

    def append(self, name: str, value: str) -> None:
        """Add a value to those of the field: behind a comma where there is one, else as a field of its own."""
        old = self.get(name)
        if old:
            self[name] = f"{old}, {value}"
        else:
            self.add(name, value)

    def __setitem__(self, name: str, value: str) -> None:
        """The only field of this name, in the place of the first one. Raises ValueError for what is no field."""
        check_field(name, value)
        lower = name.lower()
        if lower not in self.block.index:
            self.add(name, value)
            return
        self._copy()
        at = next(at for at, field in enumerate(self._fields) if field[0] == lower)
        self._fields[at] = (lower, value)
        self._lines[at] = encode_line(name, value)
        self._keep([other for other, field in enumerate(self._fields) if other <= at or field[0] != lower])

    def __delitem__(self, name: str) -> None:
        """Remove all fields of this name. Raises KeyError when there is none."""
        if not self.discard(name):
            raise KeyError(name)

    def discard(self, name: str) -> bool:
        """Remove all fields of this name; return whether there were any."""
        lower = name.lower()
        if lower not in self.block.index:
            return False
        self._copy()
        self._keep([at for at, field in enumerate(self._fields) if field[0] != lower])
        return True

    def _keep(self, places: list[int]) -> None:
        self._fields = [self._fields[at] for at in places]
        self._lines = [self._lines[at] for at in places]

    def _copy(self) -> None:
        """From here on the fields are this message's own."""
        if self._block is not None:
            self._fields, self._lines = list(self._block.fields), list(self._block.lines)
            self._block = None

    def __repr__(self) -> str:
        return f"Headers({list(self.items())!r})"
