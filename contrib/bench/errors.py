"""The one exception of the bench: what is shown to the user instead of a traceback."""

from __future__ import annotations


class BenchError(Exception):
    """A peer, a tool or the machine does not do what a case needs; the message says which and why."""
