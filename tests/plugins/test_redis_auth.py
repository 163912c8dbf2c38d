from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from l4proxy.errors import ConfigError
from l4proxy.plugins.redis.proxy import RedisProxy
from l4proxy.plugins.redis_auth import RedisAuth
from l4proxy.protocols.redis.request import encode_command
from l4proxy.protocols.redis.values import Failure, Simple
from l4proxy.testing import StartProxy, use
from redis_fuzz import commands
from redis_memory import RedisMemory, memory_cluster, redis_memory
from services.needs import needs
from services.redis import RedisServer, redis_server

__all__ = ["memory_cluster", "redis_memory"]

APP = {"name": "app", "password": "secret", "rules": "~app:* &app:* +@all -@dangerous"}
OK = Simple(b"OK")


def test_who_has_not_logged_in_may_do_nothing(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisAuth, users=[APP]))
    client.end.send(b"".join(encode_command(*line.split()) for line in (b"GET a", b"HELLO 3", b"PING", b"AUTH secret")))
    assert [reply.prefix for reply in client.replies()] == ["NOAUTH", "NOAUTH", "NOAUTH", "WRONGPASS"]
    assert not redis_memory.look()


def test_users(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisAuth, users=[APP]))
    lines = "AUTH app wrong|AUTH app secret|GET app:1|GET other|FLUSHALL|ACL WHOAMI|SUBSCRIBE news"
    for line in lines.split("|"):
        client.send(*line.encode().split())
        redis_memory.serve()
    wrong, ok, value, key, command, whoami, channel = client.replies()
    assert wrong.prefix == "WRONGPASS"
    assert (ok, value, whoami) == (OK, b"0  GET app:1", b"app")
    assert key == b"NOPERM this user has no permissions to access one of the keys used as arguments"
    assert command == b"NOPERM this user has no permissions to run the 'flushall' command"
    assert channel.endswith(b"one of the channels used as arguments")
    assert client.harness.connection.state["redis:user"] == "app"
    client.send(b"RESET")
    client.send(b"GET", b"app:1")
    redis_memory.serve()
    assert client.replies()[1].prefix == "NOAUTH"
    assert redis_memory.statistic("l4proxy_redis_auth_logins_total", user="app") == 1
    assert redis_memory.statistic("l4proxy_redis_auth_refused_total", reason="key") == 1


def test_hello_logs_in(redis_memory: RedisMemory) -> None:
    client = redis_memory.start(use(RedisAuth, users=[APP]), password="servers")
    redis_memory.password = b"servers"
    client.send(b"HELLO", b"3", b"AUTH", b"app", b"wrong")
    client.send(b"HELLO", b"3", b"AUTH", b"app", b"secret", b"SETNAME", b"x")
    client.send(b"CLIENT", b"GETNAME")
    redis_memory.serve()
    wrong, hello, name = client.replies()
    assert wrong.prefix == "WRONGPASS"
    assert hello == [(b"proto", 3)]
    assert name == b"x"
    said = [words for server in redis_memory.servers for words in server.commands]
    assert not any(b"app" in words for words in said)


def test_anybody(redis_memory: RedisMemory) -> None:
    """A default user without a password is who nobody else is."""
    client = redis_memory.start(use(RedisAuth, users=[{"name": "default", "rules": "nopass ~* +get"}, APP]))
    for line in (b"GET a", b"SET a 1", b"AUTH secret", b"ACL WHOAMI"):
        client.send(*line.split())
        redis_memory.serve()
    value, refused, no_password, whoami = client.replies()
    assert value == b"0  GET a"
    assert refused.prefix == "NOPERM"
    assert no_password.startswith(b"ERR AUTH <password> called without any password")
    assert whoami.prefix == "NOPERM"


def test_a_file(redis_memory: RedisMemory, tmp_path: Path) -> None:
    file = tmp_path / "users.acl"
    file.write_text(f"user default off\nuser bob on #{sha256(b'pw').hexdigest()} ~* +@read\n")
    client = redis_memory.start(use(RedisAuth, file=str(file)))
    for line in (b"AUTH bob pw", b"GET a", b"SET a 1"):
        client.send(*line.split())
        redis_memory.serve()
    ok, value, refused = client.replies()
    assert (ok, value) == (OK, b"0  GET a")
    assert refused.prefix == "NOPERM"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"users": [APP, APP]}, r"users\[1\].name: there are two users 'app'"),
        ({"users": [{"name": "a", "rules": "+nonsense"}]}, r"users\[0\].rules: there is no command NONSENSE"),
        ({"file": "/nonexistent"}, "file: cannot read /nonexistent: No such file"),
        ({"file": __file__}, "file: .*: line 1: should be 'user NAME RULES...'"),
    ],
)
def test_what_is_refused(options: dict[str, Any], problem: str, redis_memory: RedisMemory) -> None:
    with pytest.raises(ConfigError, match=problem):
        redis_memory.start(use(RedisAuth, **options))


@needs("redis-server")
def test_the_server_refuses_the_same_in_the_same_words(proxy: StartProxy, redis: RedisServer, tmp_path: Path) -> None:
    """The same rules, at a server and at the proxy in front of another."""
    rules = "~key[0-4] %R~key5 &c1 +@all -@dangerous -@admin -hset -client|setname"
    filters = [use(RedisAuth, users=[{"name": "bob", "password": "pw", "rules": rules}])]
    running = proxy(
        RedisProxy, cluster="cache", clusters={"cache": redis.address}, filters=[_use(one) for one in filters]
    )
    changes_state = "SWAPDB MULTI WATCH SELECT RESET BLPOP BRPOP BLMOVE BZPOPMIN BLMPOP WAIT DEBUG"
    without = frozenset(changes_state.split())
    with redis_server(tmp_path) as strict, strict.connect() as admin:
        admin.ask("ACL", "SETUSER", "bob", "on", ">pw", *rules.split())
        with strict.connect() as direct, redis.connect(running.address[1]) as client:
            assert direct.ask("AUTH", "bob", "pw") == client.ask("AUTH", "bob", "pw")
            source = commands(3, without=without)
            for _ in range(3000):
                words = next(source)
                expected, reply = direct.ask(*words), client.ask(*words)
                if isinstance(expected, Failure) and expected.prefix == "NOPERM":
                    assert reply == expected, words
                else:
                    assert not (isinstance(reply, Failure) and reply.prefix == "NOPERM"), words


def _use(one: Any) -> Any:
    from l4proxy.config.types import Use

    cls, config, _ = one
    return Use(cls.name, config, cls=cls)
