"""l4proxy against Envoy, HAProxy and nginx: one worker each, the same job, interleaved.

python contrib/bench
python contrib/bench --case small --case 'bulk_*' --rounds 5 --peers l4proxy,envoy --json small.json
"""

from __future__ import annotations

import argparse
import copy
import signal
import sys
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import machine
import report
from bench import set_up
from case import Case
from cases import CASES
from errors import BenchError
from peers import DEFAULT_PEERS, PEERS, Command, Peer
from rounds import Outcome, run_rounds

FILES = 24_000
"""Descriptors that the case with the most connections needs in one process."""

_PEERS_HELP = f"which of {', '.join(PEERS)} (default: {','.join(DEFAULT_PEERS)}); named twice is measured twice"
_COMMAND_HELP = "one more peer: a command with {port} and {upstream} in it"


def main() -> int:
    args = _arguments().parse_args()
    if args.list:
        for case in CASES:
            print(f"{case.name:14} {case.title}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return _run(args)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--case", metavar="NAME", action="append", help="a case, or a pattern of some; may be repeated (default: all)")
    add("--peers", metavar="A,B", default=",".join(DEFAULT_PEERS), help=_PEERS_HELP)
    add("--command", metavar="NAME=COMMAND", action="append", default=[], help=_COMMAND_HELP)
    add("--against", metavar="PEER", default="envoy", help="whom to compare with (default: envoy, else the first)")
    add("--rounds", type=_between(int, 1, 100), default=5, help="measurements of each peer and case (default: 5)")
    add("--seconds", type=_between(float, 0.05, 60), default=2.0, help="length of a measurement (default: 2)")
    add("--json", metavar="FILE", type=Path, help="write every figure there as well")
    add("--list", action="store_true", help="list the cases")
    return parser


def _between(kind: type[int] | type[float], low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}")
        return value

    return parse


def _run(args: argparse.Namespace) -> int:
    cases = _chosen_cases(args.case)
    named, left_out = _chosen_peers(args.peers, args.command)
    cores = machine.Cores.split()
    head: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rounds": args.rounds,
        "seconds": args.seconds,
        "machine": machine.describe(cores),
        "versions": {peer.name: peer.version() for peer in named},
        "left_out": left_out,
    }
    _print_head(head, cores)
    outcomes: list[Outcome] = []
    with set_up(cores, args.seconds, machine.raise_file_limit(FILES)) as bench:
        for case in cases:
            outcome = run_rounds(case, named, bench, args.rounds, args.against, _progress)
            outcomes.append(outcome)
            print(f"\n{report.as_text(outcome)}", flush=True)
            if args.json:
                report.write_json(args.json, head, outcomes)
    return 1 if any(outcome.failed for outcome in outcomes) else 0


def _chosen_cases(patterns: Sequence[str] | None) -> list[Case]:
    if patterns is None:
        return list(CASES)
    for pattern in patterns:
        if not any(fnmatchcase(case.name, pattern) for case in CASES):
            raise BenchError(f"there is no case {pattern!r}; there are {', '.join(case.name for case in CASES)}")
    return [case for case in CASES if any(fnmatchcase(case.name, pattern) for pattern in patterns)]


def _chosen_peers(names: str, commands: Sequence[str]) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can run here, each under a name of its own, and why others cannot."""
    peers: list[Peer] = []
    for name in filter(None, names.split(",")):
        if name not in PEERS:
            raise BenchError(f"there is no peer {name!r}; there are {', '.join(PEERS)}")
        peers.append(PEERS[name])
    for text in commands:
        name, _, template = text.partition("=")
        peers.append(Command(name, template))
    left_out = {peer.name: reason for peer in peers if (reason := peer.missing())}
    there = [peer for peer in peers if peer.name not in left_out]
    if not there:
        raise BenchError("no peer can run: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    return _with_own_names(there), left_out


def _with_own_names(peers: Sequence[Peer]) -> list[Peer]:
    named: list[Peer] = []
    for peer in peers:
        same = sum(other.name.partition("#")[0] == peer.name for other in named)
        named.append(copy.copy(peer))
        if same:
            named[-1].name = f"{peer.name}#{same + 1}"
    return named


def _print_head(head: dict[str, Any], cores: machine.Cores) -> None:
    about = head["machine"]
    print(f"{about['cpu']}, Linux {about['kernel']}, {about['python']}; {head['rounds']} rounds of {head['seconds']} s")
    if cores.shared:
        print("One core only: proxy, load and upstream share it. Costs can be compared, rates and latencies hardly.")
    else:
        print(f"Proxy on core {about['proxy_core']}, load and upstream on {about['load_cores']}.")
    for name, version in head["versions"].items():
        print(f"  {name}: {version}")
    for name, reason in head["left_out"].items():
        print(f"  {name}: left out: {reason}")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
