"""A proxy that the command line names."""

from __future__ import annotations

import shlex
from pathlib import Path

from errors import BenchError

from peers.peer import Job, Peer

__all__ = ["Command"]


class Command(Peer):
    """Any other proxy (an older checkout, a prototype): a command with ``{port}`` and ``{upstream}`` in it. No TLS."""

    def __init__(self, name: str, template: str) -> None:
        super().__init__(name)
        self.template = template

    def missing(self) -> str:
        return ""

    def command(self, job: Job, directory: Path) -> list[str]:
        if job.certificate:
            raise BenchError(f"{self.name} is not told how to terminate TLS")
        return [word.format(port=job.port, upstream=job.upstream) for word in shlex.split(self.template)]

    def version(self) -> str:
        return self.template
