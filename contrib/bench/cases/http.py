"""HTTP/1: keep-alive requests through a router, with statistics and an access log; large bodies both ways."""

from __future__ import annotations

from programs import Work

from cases.small import REQUEST
from cases.traffic import Traffic, Unit

__all__ = ["CASES"]

BODY = Unit(cpu_title="CPU ms/GiB", cpu_scale=1e3, rate_title="GiB/s", size=1 << 30, latency=False)


def _requests(mode: str, connections: int, size: int) -> Work:
    return Work(mode, connections, size, http=True)


CASES = (
    Traffic("http", "GET of 100 bytes, the same again and again, 32 connections", REQUEST, _requests("get", 32, 100)),
    Traffic(
        "http_different",
        "the same, each with a path, query, request id and trace of its own",
        REQUEST,
        _requests("different", 32, 100),
    ),
    Traffic("http_1", "GET of 100 bytes, 1 connection", REQUEST, _requests("get", 1, 100)),
    Traffic("http_filters", "GET through five filters that read fields", REQUEST, _requests("get", 32, 100), filters=5),
    Traffic("http_pipeline", "sixteen GETs in one write, 32 connections", REQUEST, _requests("pipeline", 32, 100)),
    Traffic("http_64k", "GET of 64 KiB, 32 connections", REQUEST, _requests("get", 32, 64 * 1024)),
    Traffic("http_download", "GETs of 1 GiB, 4 connections", BODY, _requests("download", 4, 1)),
    Traffic("http_upload", "PUTs of 1 GiB, 4 connections", BODY, _requests("upload", 4, 1)),
)
