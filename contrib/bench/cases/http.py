"""HTTP/1: keep-alive requests through a router, with statistics and an access log; large bodies both ways."""

from __future__ import annotations

from dataclasses import replace

from bench import CONNECTIONS, Bench
from case import Sample
from peers import Peer
from programs import Work

from cases.half_load import HalfLoad
from cases.small import REQUEST
from cases.traffic import Traffic, Unit

__all__ = ["CASES"]

BODY = Unit(cpu_title="CPU ms/GiB", cpu_scale=1e3, rate_title="GiB/s", size=1 << 30, latency=False)


def _requests(mode: str, connections: int, size: int) -> Work:
    return Work(mode, connections, size, http=True)


class ManyConnections(Traffic):
    """As many connections as the limit of open files allows."""

    def __init__(self) -> None:
        title = "the same from 10,000 connections in turn, 32 requests at a time"
        super().__init__("http_10k", title, REQUEST, _requests("turns", CONNECTIONS, 100))

    def sample(self, bench: Bench, peer: Peer) -> Sample:
        self.work = replace(self.work, connections=bench.many_connections)
        return super().sample(bench, peer)


_SAME = Traffic(
    "http", "GET of 100 bytes, the same again and again, 32 connections", REQUEST, _requests("get", 32, 100)
)
CASES = (
    _SAME,
    Traffic(
        "http_different",
        "the same, each with a path, query, request id and trace of its own",
        REQUEST,
        _requests("different", 32, 100),
    ),
    Traffic("http_1", "GET of 100 bytes, 1 connection", REQUEST, _requests("get", 1, 100)),
    Traffic("http_filters", "GET through five filters that read fields", REQUEST, _requests("get", 32, 100), filters=5),
    Traffic("http_pipeline", "sixteen GETs in one write, 32 connections", REQUEST, _requests("pipeline", 32, 100)),
    ManyConnections(),
    Traffic(
        "http_routes",
        "GETs for 10,000 routes in turn, 32 connections",
        REQUEST,
        _requests("routes", 64, 100),
        routes=10_000,
    ),
    HalfLoad("http_half", "the same at half of the slowest proxy's limit, 500 connections", _SAME, 500),
    Traffic("http_64k", "GET of 64 KiB, 32 connections", REQUEST, _requests("get", 32, 64 * 1024)),
    Traffic("http_download", "GETs of 1 GiB, 4 connections", BODY, _requests("download", 4, 1)),
    Traffic("http_upload", "PUTs of 1 GiB, 4 connections", BODY, _requests("upload", 4, 1)),
)
