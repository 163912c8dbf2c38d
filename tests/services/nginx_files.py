"""What configurations of nginx in tests share."""

from __future__ import annotations

from pathlib import Path

__all__ = ["temporary_files"]


def temporary_files(directory: Path) -> str:
    """For ``http``: what is written on the way goes here, and not to the system's directories."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "\n".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
