"""Points in time as descriptions show them: ISO 8601, in UTC."""

from __future__ import annotations

from l4proxy.access_log.times import ISO_8601, time_formatter

__all__ = ["utc", "utc_seconds"]

utc = time_formatter(ISO_8601)
"""With milliseconds."""
utc_seconds = time_formatter("%Y-%m-%dT%H:%M:%SZ")
