"""What statements have in common: their text without its values.

``SELECT * FROM t WHERE id IN (1, 2) -- why`` and ``select * from t where id in (3)`` both are ``select * from t where id
in (?)``. Literals never stay in it: they may be secrets, and every one would be a label value.
"""

from __future__ import annotations

import re

__all__ = ["FINGERPRINT_LIMIT", "fingerprint"]

FINGERPRINT_LIMIT = 300
"""Characters; the rest is cut off."""

# What a truncated statement leaves open goes on to its end: half a literal must not be shown either.
_TOKEN = re.compile(
    r"""
      (?P<literal>
          [eE]'(?:[^'\\]|\\.|'')*+(?:'|\\?\Z)             # E'it\'s'
        | (?:[uU]&|[bBxXnN])?'(?:[^']|'')*+(?:'|\Z)       # 'it''s', B'01'
        | \$\d+                                           # $1, a parameter
        | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)  # $$it's$$, $body$it's$body$
        | (?:0[xXoObB][\da-fA-F_]+ | (?:\d[\d_]*(?:\.[\d_]*)? | \.\d[\d_]*)(?:[eE][-+]?\d+)?)
      )
    | (?P<gap> (?: \s | --[^\n]* | /\*.*?(?:\*/|\Z) )++ )
    | (?P<quoted> "(?:[^"]|"")*+(?:"|\Z) )
    | (?P<word> [^\W\d][\w$]*+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_LIST = re.compile(r"\?(?: ?, ?\?)+")
_ROWS = re.compile(r"(\(\?\))(?: ?, ?\(\?\))+")


def fingerprint(statement: str) -> str:
    """The text of a statement without literals, comments and differences of case and space."""
    text = _TOKEN.sub(_replace, statement).strip(" ;")
    text = _ROWS.sub(r"\1", _LIST.sub("?", text))
    return text if len(text) <= FINGERPRINT_LIMIT else text[: FINGERPRINT_LIMIT - 3] + "..."


def _replace(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "literal" | "tag":
            return "?"
        case "gap":
            return " "
        case "word":
            return token[0].lower()
    return token[0]
