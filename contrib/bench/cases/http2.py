"""HTTP/2: 8 connections of 32 streams each, with router, statistics and access log, to HTTP/1 and to HTTP/2."""

from __future__ import annotations

from programs import Work

from cases.half_load import HalfLoad
from cases.http import BODY
from cases.small import REQUEST
from cases.traffic import Traffic

__all__ = ["CASES"]

CONNECTIONS = 8


def _work(mode: str, connections: int = CONNECTIONS, size: int = 100, *, to_http2: bool = False) -> Work:
    return Work(mode, connections, size, http2=True, upstream_http2=to_http2)


_SAME = Traffic("http2", "GET of 100 bytes over HTTP/2, the same again and again, from HTTP/1", REQUEST, _work("get"))
CASES = (
    _SAME,
    Traffic(
        "http2_different",
        "the same, each with one of 5000 paths, a request id and a trace of its own",
        REQUEST,
        _work("different"),
    ),
    Traffic("http2_http2", "GET of 100 bytes over HTTP/2 on both sides", REQUEST, _work("get", to_http2=True)),
    HalfLoad("http2_half", "GET over HTTP/2 at half of the slowest proxy's limit, 32 connections", _SAME, 32),
    Traffic("grpc", "unary gRPC calls with 100 bytes each way", REQUEST, _work("grpc", to_http2=True)),
    Traffic("http2_download", "GETs of 1 GiB over HTTP/2 from HTTP/1, 4 connections", BODY, _work("download", 4, 1)),
    Traffic("http2_upload", "PUTs of 1 GiB over HTTP/2 to HTTP/1, 4 connections", BODY, _work("upload", 4, 1)),
)
