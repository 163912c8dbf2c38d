from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from clusters import run
from docs.pages import blocks
from http_peers import Reply, Seen, connect, http_proxy, upstream
from jwt_tokens import SECRET, ec_jwk, oct_jwk, rsa_jwk, token
from l4proxy import ConfigError
from l4proxy.plugins.jwt_algorithms import JWT_ALGORITHMS
from plugins.test_jwt_algorithms import rsa_key

LATER = 4102444800  # 2100


def ask(*lines: str, target: str = "/", **options: Any) -> tuple[Reply, Seen | None]:
    if not options.keys() & {"secret", "jwks"}:
        options["secret"] = SECRET

    async def conversation() -> tuple[Reply, Seen | None]:
        use = {"use": "jwt_authn", **options}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            reply = await client.get(target, *lines)
            denied = proxy.server.stats.snapshot()["l4proxy_http_jwt_authn_denied_total"]["samples"]
            assert bool(denied) is (reply.status != 200)
            return reply, up.seen[0] if up.seen else None

    return run(conversation)


def bearer(claims: dict[str, Any] | None = None, **how: Any) -> str:
    return f"Authorization: Bearer {token({'exp': LATER, 'sub': 'ann', **(claims or {})}, **how)}"


def test_a_right_token_passes_and_goes_no_further() -> None:
    reply, seen = ask(bearer())
    assert reply.status == 200
    assert seen is not None
    assert seen.field("authorization") is None
    _, seen = ask(bearer(), forward=True)
    assert seen is not None
    assert (seen.field("authorization") or "").startswith("Bearer ey")


@pytest.mark.parametrize(
    ("line", "options", "status", "challenge", "details"),
    [
        ("X: y", {}, 401, 'Bearer realm="restricted"', "a token is needed"),
        ("Authorization: Basic abc", {}, 401, 'Bearer realm="restricted"', "a token is needed"),
        ("Authorization: Bearer x", {}, 401, 'error="invalid_token"', "not a signed token"),
        (bearer({"exp": 1}), {}, 401, 'error_description="it has expired"', "expired"),
        (bearer({"nbf": LATER}), {}, 401, 'error="invalid_token"', "not valid yet"),
        (bearer({"iss": "a"}), {"issuer": "b"}, 401, 'error="invalid_token"', "issued by somebody else"),
        (bearer({"aud": "a"}), {"audiences": ["b", "c"]}, 401, 'error="invalid_token"', "for somebody else"),
        (bearer({"scope": "a b"}), {"require": {"scope": "c"}}, 403, 'error="insufficient_scope"', "scope does not"),
        (bearer(key=SECRET + "x"), {}, 401, 'error="invalid_token"', "signature is wrong"),
        (bearer(alg="HS512"), {}, 401, 'error="invalid_token"', "no key is for"),
        ("X: y", {"realm": "here"}, 401, 'Bearer realm="here"', ""),
    ],
)
def test_what_is_wrong_is_refused(
    line: str, options: dict[str, Any], status: int, challenge: str, details: str
) -> None:
    reply, seen = ask(line, **options)
    assert reply.status == status
    assert challenge in (reply.field("www-authenticate") or "")
    assert details in reply.body.decode()
    assert seen is None


@pytest.mark.parametrize(
    ("claims", "options"),
    [
        ({"iss": "a"}, {"issuer": "a"}),
        ({"aud": "a"}, {"audiences": ["b", "a"]}),
        ({"aud": ["x", "a"]}, {"audiences": ["a"]}),
        ({"scope": "x orders:write"}, {"require": {"scope": ["orders:write", "admin"]}}),
        ({"realm": {"roles": ["a", "b"]}}, {"require": {"realm.roles": "b"}}),
        ({"level": 3, "admin": True}, {"require": {"level": "3", "admin": "true"}}),
    ],
)
def test_what_is_asked_for_is_there(claims: dict[str, Any], options: dict[str, Any]) -> None:
    assert ask(bearer(claims), **options)[0].status == 200


def test_clocks_may_differ() -> None:
    assert ask(bearer({"exp": int(time.time()) - 30}))[0].status == 200
    assert ask(bearer({"nbf": int(time.time()) + 30}))[0].status == 200


def test_a_token_may_stand_elsewhere() -> None:
    text = bearer().removeprefix("Authorization: Bearer ")
    reply, seen = ask("X-Token: " + text, header="x-token", prefix="")
    assert (reply.status, seen and seen.field("x-token")) == (200, None)
    reply, seen = ask(f"Cookie: a=1; token={text}; b=2", cookie="token")
    assert (reply.status, seen and seen.field("cookie")) == (200, "a=1; b=2")
    reply, seen = ask(f"Cookie: token={text}", cookie="token", header="")
    assert (reply.status, seen and seen.field("cookie")) == (200, None)
    reply, seen = ask(target=f"/a?x=1&token={text}&y", query="token")
    assert (reply.status, seen and seen.line) == (200, "GET /a?x=1&y HTTP/1.1")
    reply, seen = ask(target=f"/a?token={text}", query="token", forward=True)
    assert (reply.status, seen and seen.line) == (200, f"GET /a?token={text} HTTP/1.1")


def test_upstreams_are_told_of_claims_and_of_nothing_else() -> None:
    claims = {"name": "Zoë\r\nX-Evil: 1", "roles": ["a", "b"], "deep": {"n": 1.5}}
    headers = {"x-user": "sub", "x-name": "name", "x-roles": "roles", "x-deep": "deep", "x-none": "none"}
    _, seen = ask(
        bearer(claims), "X-User: root", "X-None: 1", "X-Payload: 1", claims=headers, payload_header="x-payload"
    )
    assert seen is not None
    found = [seen.field(name) for name in headers]
    assert found == ["ann", "Zoë??X-Evil: 1".encode().decode("latin-1"), "a,b", '{"n":1.5}', None]
    payload = json.loads(base64.urlsafe_b64decode((seen.field("x-payload") or "") + "=="))
    assert payload["sub"] == "ann"
    reply, seen = ask("X-User: root", claims=headers, required=False)
    assert (reply.status, seen and seen.field("x-user")) == (200, None)
    assert ask("Authorization: Bearer x", required=False)[0].status == 401


def test_access_logs_have_the_claims(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def conversation() -> None:
        line = "%FILTER_STATE(jwt_authn:sub)% %FILTER_STATE(jwt_authn:exp)%\n"
        config = {"access_log": [{"use": "file", "path": str(log), "format": line, "flush_interval": 0}]}
        use = {"use": "jwt_authn", "secret": SECRET}
        async with upstream() as up, http_proxy(up, filters=[use], config=config) as proxy, connect(proxy) as client:
            assert (await client.get("/", bearer())).status == 200

    run(conversation)
    assert log.read_text().strip() == f"ann {LATER}"


def test_keys_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [rsa_jwk(rsa_key(), kid="r"), oct_jwk(kid="h")]}))
    for how in ({"key": rsa_key(), "alg": "RS256", "kid": "r"}, {"kid": "h"}):
        assert ask(bearer(**how), jwks=str(path))[0].status == 200
    assert ask(bearer(kid="h"), jwks=str(path), algorithms=["RS256"])[0].status == 401


@pytest.fixture
def ecdsa() -> Iterator[None]:
    """The plugin of the guide."""
    (block,) = [block for block in blocks("contrib/guides/http.md", "python") if "Ecdsa" in block.text]
    before = dict(JWT_ALGORITHMS._known)
    exec(compile(block.text, "guide", "exec"), {"__name__": "guide"})
    yield
    JWT_ALGORITHMS._known = before


@pytest.mark.usefixtures("ecdsa")
def test_a_plugin_brings_other_algorithms(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(ec_jwk(key)))
    either: list[dict[str, Any]] = [{}, {"algorithms": ["ES256"]}]
    for options in either:
        assert ask(bearer(key=key, alg="ES256"), jwks=str(path), **options)[0].status == 200
        other = ec.generate_private_key(ec.SECP256R1())
        assert ask(bearer(key=other, alg="ES256"), jwks=str(path), **options)[0].status == 401


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"secret": SECRET, "jwks": "x"}, "write secret, or jwks"),
        ({"secret": "short"}, "secret: a key of 5 bytes is too short to be safe: 32 are needed"),
        ({"jwks": "/nowhere"}, "jwks: cannot read /nowhere"),
        ({"algorithms": ["HS256", "ES256"]}, r"algorithms\[1\]: ES256 needs a plugin that brings it"),
        ({"header": ""}, "where is the token"),
        ({"claims": {"a b": "sub"}}, "claims: 'a b' is not the name of a header field"),
        ({"realm": '"'}, "realm"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ask(**options)
