"""Interleaved rounds: A B C D A B C D ..., so that a machine that grows slower grows slower for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench import Bench
from case import Case, Column, Sample
from errors import BenchError
from peers import Peer

__all__ = ["Outcome", "Spread", "run_rounds"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of several measurements, and how far apart they were."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


@dataclass(slots=True)
class Outcome:
    """What came out of a case. ``samples`` are in order of rounds; a peer that failed once is in ``failed`` only."""

    case: Case
    against: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def spread(self, peer: str, column: Column) -> Spread:
        return Spread.of([sample[column.key] for sample in self.samples[peer]])

    def comparison(self, peer: str, column: Column) -> Spread | None:
        """Each round's figure to the same round's figure of the peer compared with; None for that peer itself."""
        if peer == self.against or self.against not in self.samples:
            return None
        pairs = [
            (mine[column.key], other[column.key])
            for mine, other in zip(self.samples[peer], self.samples[self.against], strict=True)
        ]
        if column.compare == "difference":
            return Spread.of([mine - other for mine, other in pairs])
        return Spread.of([mine / other for mine, other in pairs]) if all(other for _, other in pairs) else None


def run_rounds(
    case: Case, chosen: Sequence[Peer], bench: Bench, rounds: int, against: str, progress: Callable[[str], None]
) -> Outcome:
    """Measure ``case``. A peer that cannot do it is left out of it from then on."""
    peers = case.peers(chosen)
    names = [peer.name for peer in peers]
    outcome = Outcome(case, against if against in names else next(iter(names), ""), {name: [] for name in names})
    for number in range(1, rounds + 1):
        for peer in peers:
            if peer.name in outcome.failed:
                continue
            progress(f"{case.name}: round {number} of {rounds}, {peer.name}")
            try:
                outcome.samples[peer.name].append(case.sample(bench, peer))
            except BenchError as error:
                outcome.failed[peer.name] = str(error)
                del outcome.samples[peer.name]
    progress("")
    return outcome
