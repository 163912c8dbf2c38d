from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from clusters import run
from http_peers import connect, http_proxy, upstream
from l4proxy import ConfigError
from l4proxy.plugins.http_basic_auth import BasicAuthStats, Passwords
from l4proxy.stats_registry import StatsRegistry


def passwords(**users: str) -> Passwords:
    return Passwords(users, StatsRegistry().group(BasicAuthStats))


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


SHA = "{SHA}" + base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
PBKDF2 = "pbkdf2_sha256$1000$" + "$".join(
    base64.b64encode(part).decode() for part in (b"salt", hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 1000))
)


@pytest.mark.parametrize("stored", ["secret", SHA, PBKDF2])
def test_passwords(stored: str) -> None:
    users = passwords(ann=stored)
    for _ in range(2):
        assert users.user(basic("ann:secret")) == "ann"
        for wrong in ("ann:secret1", "ann:", "ann", "bob:secret", ":secret", "bob:", ""):
            assert users.user(basic(wrong)) is None
    assert users.user("Basic ****") is None
    assert users.user("Bearer x") is None
    assert users.user("") is None


def test_a_hash_that_is_not_known_is_no_password() -> None:
    with pytest.raises(ValueError, match="how the password of 'ann' is hashed"):
        passwords(ann="$2y$05$abc")


def test_only_known_users_pass(tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(f"# users\nann:{SHA}\n")

    async def conversation() -> None:
        use: dict[str, Any] = {"use": "basic_auth", "file": str(file), "realm": "here"}
        async with upstream() as up, http_proxy(up, filters=[use]) as proxy, connect(proxy) as client:
            reply = await client.get("/", "X-User: root")
            assert (reply.status, reply.field("www-authenticate")) == (401, 'Basic realm="here", charset="UTF-8"')
            reply = await client.get("/", f"Authorization: {basic('ann:secret')}", "X-User: root")
            assert reply.body == b"ok"
            assert (up.seen[0].field("x-user"), up.seen[0].field("authorization")) == ("ann", None)

    run(conversation)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "write users, or file"),
        ({"file": "/nowhere"}, "cannot read /nowhere"),
        ({"users": {"a": "b"}, "realm": '"'}, "realm"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], words: str) -> None:
    async def conversation() -> None:
        async with upstream() as up, http_proxy(up, filters=[{"use": "basic_auth", **options}]):
            pass

    with pytest.raises(ConfigError, match=words):
        run(conversation)
