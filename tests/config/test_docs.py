from __future__ import annotations

from dataclasses import dataclass, make_dataclass

from l4proxy.config.docs import field_docs, first_paragraph, summary


@dataclass(frozen=True, slots=True)
class Base:
    """The first
    paragraph.

    The second.
    """

    first: int = 1
    """Documented in
    two lines."""
    second: int = 2
    third: int = 3
    # A comment is no documentation.


@dataclass(frozen=True, slots=True)
class Derived(Base):
    second: int = 5
    """Overridden."""
    fourth: str = ""
    """The last."""

    def method(self) -> None:
        inner: int = 1
        """Not a field."""
        print(inner)


def test_docs_of_fields() -> None:
    assert field_docs(Base) == {"first": "Documented in two lines."}
    assert field_docs(Derived) == {"first": "Documented in two lines.", "second": "Overridden.", "fourth": "The last."}


def test_a_class_in_a_function() -> None:
    @dataclass
    class Local:
        field: int
        """Found."""

    assert field_docs(Local) == {"field": "Found."}


def test_a_class_without_source() -> None:
    assert field_docs(make_dataclass("Made", ["x"])) == {}


def test_summaries() -> None:
    assert summary(Base) == "The first\nparagraph.\n\nThe second."
    assert first_paragraph(Base) == "The first paragraph."


def test_what_dataclass_writes_is_no_summary() -> None:
    assert summary(Derived) == first_paragraph(Derived) == ""
