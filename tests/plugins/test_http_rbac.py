from __future__ import annotations

from typing import Any

from clusters import run
from http_peers import Client, connect, http_proxy, upstream
from proxying import Proxy

READ = {"methods": ["GET"], "prefix": "/public"}
ADMIN = {"prefix": "/admin"}
BOTS = {"headers": [{"name": "user-agent", "contains": "bot"}]}


def statuses(use: dict[str, Any], *targets: str) -> tuple[list[int], Proxy]:
    async def conversation() -> tuple[list[int], Proxy]:
        async with (
            upstream() as up,
            http_proxy(up, filters=[{"use": "rbac", **use}], trusted_proxies=["127.0.0.1/32"]) as proxy,
            connect(proxy) as client,
        ):
            return [await status(client, target) for target in targets], proxy

    async def status(client: Client, target: str) -> int:
        method, _, rest = target.partition(" ")
        path, *lines = rest.split(" ", 1)
        return (await client.get(path, *lines, method=method)).status

    return run(conversation)


def test_only_what_a_policy_allows() -> None:
    found, proxy = statuses(
        {"action": "allow", "policies": {"read": READ}},
        "GET /public/a", "POST /public/a", "GET /publicity", "GET /private", "GET /public/../private",
        "GET /public/%2e%2e/private",
    )  # fmt: skip
    assert found == [200, 403, 403, 403, 403, 403]
    assert proxy.value("l4proxy_http_rbac_denied_total", name="", policy="none") == 5


def test_all_but_what_a_policy_denies() -> None:
    found, _ = statuses(
        {"action": "deny", "policies": {"admin": ADMIN, "bots": BOTS}},
        "GET /", "GET /admin", "GET /x/../admin/y", "GET / User-Agent: a-bot",
    )  # fmt: skip
    assert found == [200, 403, 403, 403]


def test_every_field_of_a_name_counts() -> None:
    """CVE-2026-26308 of Envoy: a second field of the same name got past a rule for the first."""
    policies = {"bad": {"headers": [{"name": "x-role", "contains": "admin"}]}}
    found, _ = statuses({"action": "deny", "policies": policies}, "GET / X-Role: user\r\nX-Role: admin")
    assert found == [403]


def test_the_client_is_who_a_trusted_proxy_says() -> None:
    policies = {"office": {"source": ["10.0.0.0/8"]}}
    found, _ = statuses(
        {"action": "allow", "policies": policies},
        "GET /", "GET / X-Forwarded-For: 10.1.2.3", "GET / X-Forwarded-For: 10.1.2.3, 192.0.2.1",
    )  # fmt: skip
    assert found == [403, 200, 403]


def test_a_shadow_only_counts() -> None:
    found, proxy = statuses({"action": "deny", "policies": {"admin": ADMIN}, "shadow": True}, "GET /admin")
    assert found == [200]
    assert proxy.value("l4proxy_http_rbac_shadow_denied_total", name="", policy="admin") == 1
