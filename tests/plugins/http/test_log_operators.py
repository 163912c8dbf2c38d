from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from clusters import run
from http_peers import connect, http_proxy, ok, upstream
from l4proxy import ConfigError


def logged(path: Path, line: str, target: str = "/", *lines: str, **options: Any) -> str:
    async def conversation() -> None:
        config = {"access_log": [{"use": "file", "path": str(path), "format": line}]}
        async with (
            upstream(ok(b"ok", "X-Answer: 1")) as up,
            http_proxy(up, config=config, **options) as proxy,
            connect(proxy) as client,
        ):
            await client.get(target, *lines)

    run(conversation)
    return path.read_text().strip()


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("%REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(:SCHEME)%", "GET a.test http"),
        ("%REQ(:PATH)%", "/v2/x?a=1&b=%20c"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/api/x?a=1&b=%20c"),
        ("%REQ_WITHOUT_QUERY(:PATH)% %REQ_WITHOUT_QUERY(X-NONE?:PATH)%", "/v2/x /v2/x"),
        ("%REQ_WITHOUT_QUERY(X-NONE)%", "-"),
        ("[%QUERY_PARAM(a)%] [%QUERY_PARAM(b)%] [%QUERY_PARAM(c)%]", "[1] [ c] [-]"),
        ("%REQ(x-one?x-two)% %RESP(X-ANSWER)% %RESP(:STATUS)%", "2 1 200"),
    ],
)
def test_what_was_asked(tmp_path: Path, operator: str, expected: str) -> None:
    routes = [{"prefix": "/api", "rewrite_prefix": "/v2", "cluster": "up"}]
    assert logged(tmp_path / "log", operator, "/api/x?a=1&b=%20c", "X-Two: 2", routes=routes) == expected


def test_what_went_wrong(tmp_path: Path) -> None:
    line = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %PROBLEM%"
    assert logged(tmp_path / "log", line) == "200 via_upstream -"
    routes = [{"cluster_header": "x-cluster", "allowed_clusters": ["up"]}]
    expected = "503 no_cluster no cluster is chosen by x-cluster"
    assert logged(tmp_path / "other", line, routes=routes) == expected


def test_how_long_it_took(tmp_path: Path) -> None:
    points = ("DS_RX_BEG", "DS_RX_END", "US_TX_BEG", "US_RX_BEG", "DS_TX_END")
    pairs = itertools.pairwise(points)
    line = " ".join(f"%COMMON_DURATION({one}:{other}:us)%" for one, other in (*pairs, (points[0], points[-1])))
    *parts, whole = map(int, logged(tmp_path / "log", line).split())
    assert all(part >= 0 for part in parts)
    assert abs(sum(parts) - whole) <= len(parts)
    line = "%DURATION% %REQUEST_DURATION% %RESPONSE_DURATION% %RESPONSE_TX_DURATION%"
    duration, request, response, rest = map(int, logged(tmp_path / "log2", line).split())
    assert request <= response <= duration
    assert abs(response + rest - duration) <= 1


def test_what_did_not_happen_took_no_time(tmp_path: Path) -> None:
    line = "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:ms)% %RESPONSE_TX_DURATION%"
    assert logged(tmp_path / "log", line, routes=[{"respond": {"text": "x"}}]) == "- -"


@pytest.mark.parametrize(
    "argument", ["", "DS_RX_BEG", "DS_RX_BEG:DS_TX_END", "A:DS_TX_END:ms", "DS_RX_BEG:DS_TX_END:h"]
)
def test_no_such_points(tmp_path: Path, argument: str) -> None:
    with pytest.raises(ConfigError, match=r"COMMON_DURATION|START:END:UNIT"):
        logged(tmp_path / "log", f"%COMMON_DURATION({argument})%")
