"""What we take, others take, too, and for the same: we are nowhere more lenient than nginx, HAProxy and Envoy are.

The reverse, what they take and we do not, is in the guide to HTTP.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from clusters import run
from http1_corpus import BAD_REQUESTS, ODD_REQUESTS
from http_peers import Upstream, connect, http_proxy, ok, upstream
from proxying import HOST
from services.http_proxies import HTTP_PROXIES
from services.needs import needs

MARKER = b"GET /marker HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
GUIDE = Path(__file__).parents[2] / "contrib/guides/http.md"
Taken = tuple[str, bytes]

FEWER = {"options of everything": 1}
"""How many of the others take what fewer than two of them take. ``OPTIONS *`` is in RFC 9110 section 7.1, and nothing
in it can be read in two ways."""


async def taken(port: int, data: bytes, up: Upstream) -> Taken | None:
    """What a proxy makes of a request in front of another one: method and body, or None where it refuses it."""
    up.seen.clear()
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(data + MARKER)
    async with asyncio.timeout(20):
        await reader.read()
    writer.close()
    seen = [one for one in up.seen if "/marker" not in one.line]
    assert len(seen) <= 1, seen
    return (seen[0].line.split()[0], seen[0].body) if seen else None


@needs("nginx", "haproxy", "envoy")
def test_we_take_nothing_that_others_do_not(start_http_proxy: Callable[[str, int], int]) -> None:
    async def conversation() -> None:
        others: dict[str, list[Taken]] = {case: [] for case in ODD_REQUESTS}
        for name in HTTP_PROXIES:
            async with upstream(ok()) as up:
                port = start_http_proxy(name, up.port)
                for case, (data, _) in ODD_REQUESTS.items():
                    if (found := await taken(port, data, up)) is not None:
                        others[case].append(found)
        async with upstream(ok()) as up, http_proxy(up) as proxy:
            for case, (data, (method, _, body)) in ODD_REQUESTS.items():
                ours = await taken(proxy.port, data, up)
                assert ours == (method, body), case
                assert all(one == ours for one in others[case]), (case, others[case])
                assert len(others[case]) >= FEWER.get(case, 2), case

    run(conversation, 120)


def test_the_guide_names_what_is_refused() -> None:
    """Each row of its table is a case that we refuse, with the rule that it says."""
    section = GUIDE.read_text().partition("\n## What is refused\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \|", section, re.MULTILINE)
    assert rows
    for case, rule in rows:
        assert BAD_REQUESTS[case][0] == rule

    async def conversation() -> None:
        async with upstream() as up, http_proxy(up) as proxy:
            for case, rule in rows:
                async with connect(proxy) as client:
                    client.send(BAD_REQUESTS[case][1] + MARKER)
                    assert f"\r\n\r\n{rule}: ".encode() in await client.rest(), case
            assert up.seen == []

    run(conversation)
