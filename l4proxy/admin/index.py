"""The first page, for browsers, and the same list as text."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from l4proxy.admin.content import human_seconds
from l4proxy.admin.http import Response
from l4proxy.admin.workers import merge_named
from l4proxy.terminal import printable

if TYPE_CHECKING:
    from l4proxy.admin.route import Route
    from l4proxy.admin_target import AdminTarget

__all__ = ["STYLE_HASH", "help_text", "index"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin-bottom: 0; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: baseline; padding: .25rem .8rem .25rem 0; }
tr + tr { border-top: 1px solid #8884; }
code, a { font-family: ui-monospace, monospace; }
.state { font-weight: bold; }
.DRAINING, .INITIALIZING { color: #c60; }
small { opacity: .75; }
form { display: inline; }
"""
STYLE_HASH = f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
"""For the Content-Security-Policy: this style and nothing else is let in."""


async def index(target: AdminTarget, routes: Sequence[Route]) -> Response:
    infos = [answer.value for answer in await target.describe("server_info")]
    listeners = merge_named(answer.value for answer in await target.describe("listeners"))
    up = max((info["uptime_seconds"] for info in infos), default=0)
    version = next((info["version"] for info in infos), "")
    body = [
        f"<h1>l4proxy {_text(version)}</h1>",
        f'<p><span class="state {_text(target.state)}">{_text(target.state)}</span>, up {human_seconds(up)}, ',
        f"{sum(info['connections'] for info in infos)} connections, {target.workers} ",
        "worker</p>" if target.workers == 1 else "workers</p>",
        "<h2>Listeners</h2>",
        _table(("name", "address", "connections", "state"), map(_listener_row, listeners)),
        "<h2>Pages</h2>",
        _table((), (_page_row(route) for route in routes if route.method == "GET")),
        "<h2>Changes</h2>",
        _table((), (_change_row(route) for route in routes if route.method == "POST")),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>l4proxy</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )
    return Response(page.encode(), content_type="text/html; charset=utf-8")


def _text(text: str) -> str:
    return html.escape(printable(text))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<tr>{titles}</tr>' if titles else ''}{lines}</table>"


def _listener_row(one: dict[str, Any]) -> list[str]:
    return [_text(one["name"]), _text(", ".join(one["addresses"])), str(one["connections"]), _text(one["state"])]


def _page_row(route: Route) -> list[str]:
    name = f"<code>{route.path}</code>" if "ID" in route.path else f'<a href="{route.path}">{route.path}</a>'
    return [name, _text(route.text) + _parameters(route)]


def _change_row(route: Route) -> list[str]:
    fields = "".join(f'<input name="{name}" size="8" required>' for name in route.parameters if name == "level")
    button = f'<form method="post" action="{route.path}">{fields}<button>do it</button></form>' if route.form else ""
    return [f"<code>POST {route.path}</code>", _text(route.text) + _parameters(route), button]


def _parameters(route: Route) -> str:
    return "".join(
        f"<br><small><code>?{_text(name)}</code> {_text(text)}</small>"
        for name, text in route.parameters.items()
        if name not in ("*", "format")
    )


def help_text(routes: Sequence[Route]) -> Iterable[str]:
    """A line for each page and change, with its parameters below."""
    width = max(len(route.path) for route in routes)
    for route in routes:
        yield f"{route.method:4} {route.path:{width}}  {route.text}\n"
        for name, text in route.parameters.items():
            yield f"     {'':{width}}    {'NAME' if name == '*' else name}: {text}\n"
