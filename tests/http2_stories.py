"""Stories for HPACK: the header sections of a connection, as browsers, services, load generators and attackers send.

Each story is a list of sections, and they are made anew from its seed: the kinds of the public hpack-test-case
collection, without its 30 MB."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["STORIES", "Fields"]

Fields = list[tuple[str, str]]

_WORDS = (
    "cart",
    "item",
    "user",
    "order",
    "session",
    "token",
    "image",
    "style",
    "main",
    "index",
    "video",
    "feed",
    "api",
)
_AGENTS = ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "curl/8.5.0", "grpc-go/1.65.0")


def _browser(rng: random.Random) -> Fields:
    path = "/" + "/".join(rng.choices(_WORDS, k=rng.randint(0, 4))) + rng.choice(("", ".js", ".css", "?v=1"))
    crumbs = [("cookie", f"{word}={rng.randrange(50)}") for word in rng.sample(_WORDS, rng.randint(0, 3))]
    return [
        (":method", rng.choice(("GET", "GET", "POST"))),
        (":scheme", "https"),
        (":authority", rng.choice(("shop.example", "cdn.example"))),
        (":path", path),
        ("user-agent", _AGENTS[0]),
        ("accept", rng.choice(("*/*", "text/html", "image/webp"))),
        ("accept-encoding", "gzip, deflate"),
        *crumbs,
        ("referer", f"https://shop.example/{rng.choice(_WORDS)}"),
    ]


def _service(rng: random.Random) -> Fields:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/shop.v1.{rng.choice(_WORDS).title()}/Get"),
        (":authority", "orders:50051"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", f"{rng.randint(1, 99999999)}n"),
        ("traceparent", f"00-{rng.getrandbits(128):032x}-{rng.getrandbits(64):016x}-01"),
    ]


def _response(rng: random.Random) -> Fields:
    return [
        (":status", str(rng.choice((200, 200, 204, 304, 404, 503)))),
        ("server", "l4proxy"),
        ("date", f"Mon, 21 Oct 2013 20:13:{rng.randrange(60):02} GMT"),
        ("content-length", str(rng.randrange(100_000))),
        ("etag", f'"{rng.getrandbits(64):x}"'),
        ("set-cookie", f"id={rng.getrandbits(96):x}; secure; httponly"),
        ("x-cache", rng.choice(("hit", "miss"))),
    ]


def _load(rng: random.Random) -> Fields:
    return [(":method", "GET"), (":scheme", "http"), (":authority", "127.0.0.1"), (":path", "/"), ("accept", "*/*")]


def _large(rng: random.Random) -> Fields:
    """Entries that push out others, and some that fit no table."""
    return [(f"x-{rng.choice(_WORDS)}", chr(rng.randint(33, 255)) * rng.choice((1, 500, 1900, 4100, 9000)))]


def _odd(rng: random.Random) -> Fields:
    octets = [chr(rng.randrange(256)) for _ in range(rng.randrange(40))]
    return [("".join(rng.choices("abc-_~", k=rng.randint(1, 3))), "".join(octets)) for _ in range(rng.randrange(9))]


def _story(make: Callable[[random.Random], Fields], seed: int) -> list[Fields]:
    rng = random.Random(seed)
    return [make(rng) for _ in range(150)]


_MAKERS = (_browser, _service, _response, _load, _large, _odd)

STORIES = {make.__name__[1:]: _story(make, seed) for seed, make in enumerate(_MAKERS)} | {
    "mixed": [make(rng) for rng in (random.Random(99),) for _ in range(60) for make in _MAKERS]
}
