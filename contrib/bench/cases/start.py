"""Start: from the making of the process to the first connection that it accepts."""

from __future__ import annotations

from bench import Bench
from case import Case, Column, Sample
from measure import usage
from peers import Peer

__all__ = ["CASES"]


class Start(Case):
    """Asked for once a millisecond. The CPU time tells how much of it was work."""

    def __init__(self) -> None:
        columns = (Column("listening", "listening ms", 0, "ratio"), Column("cpu", "CPU ms", 0))
        super().__init__("start", "from exec to listening", columns)

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        with bench.proxy(peer) as proxy:
            return {"listening": proxy.seconds_to_listen * 1000, "cpu": usage(proxy.pid).cpu * 1000}


CASES = (Start(),)
