from __future__ import annotations

from hashlib import sha256

import pytest

from l4proxy.protocols.redis.acl import AclUser, read_acl_file
from l4proxy.protocols.redis.commands import BUILT_IN
from redis_fuzz import commands
from services.needs import needs
from services.redis import RedisServer


def user(rules: str) -> AclUser:
    return AclUser("bob", rules, BUILT_IN)


RULES = [
    "+@all ~*", "-@all ~*", "+@read ~key1* ~key2", "+@all -@dangerous -@admin ~key?", "+get +set %R~key* %W~key1",
    "+@all %RW~key[0-3] &c*", "+@write -@hash ~*", "+client|getname +client|setname ~*", "+@all -config|set ~* &*",
    "+@string ~key0 (+@list ~key1) (+@all %R~key2)", "+@all ~* &c1", "+@all -eval ~* allchannels",
    "+@fast +@scripting ~key*",
]  # fmt: skip


@needs("redis-server")
@pytest.mark.parametrize("rules", RULES)
def test_the_server_decides_the_same(rules: str, redis: RedisServer) -> None:
    ours = user(rules)
    source = commands(1, without=frozenset({"NOSUCHCOMMAND"}))
    with redis.connect() as connection:
        words = rules.replace("(", "\0(").replace(")", ")\0").split("\0")
        split = [part for word in words for part in ([word] if word.startswith("(") else word.split())]
        assert connection.ask("ACL", "SETUSER", "bob", "reset", "on", *split) == b"OK"
        for _ in range(1500):
            command = next(source)
            told = connection.ask("ACL", "DRYRUN", "bob", *command)
            if told.startswith((b"ERR", b"wrong")):
                continue  # not a command that could be done
            assert (ours.refusal(command) == "") == (told == b"OK"), (command, told, ours.refusal(command))
        connection.ask("ACL", "DELUSER", "bob")


def test_why_it_is_refused() -> None:
    bob = user("on ~app:* &news +@read +subscribe +psubscribe")
    assert bob.refusal([b"GET", b"app:1"]) == ""
    assert bob.refusal([b"SET", b"app:1", b"x"]) == "command"
    assert bob.refusal([b"GET", b"other"]) == "key"
    assert bob.refusal([b"SUBSCRIBE", b"news"]) == ""
    assert bob.refusal([b"SUBSCRIBE", b"news", b"other"]) == "channel"
    assert bob.refusal([b"PSUBSCRIBE", b"news"]) == ""
    assert bob.refusal([b"PSUBSCRIBE", b"n*"]) == "channel"
    assert bob.refusal([b"NOSUCH"]) == "command"


def test_later_rules_count() -> None:
    assert user("~* -@all +get").refusal([b"GET", b"a"]) == ""
    assert user("~* +@all -get").refusal([b"GET", b"a"]) == "command"
    assert user("~* -get +@all").refusal([b"GET", b"a"]) == ""
    assert user("~a resetkeys ~b +@all").refusal([b"GET", b"a"]) == "key"
    assert user("-@all").refusal([b"AUTH", b"x"]) == ""
    assert user("+@all ~*").refusal([b"JSON.GET", b"doc"]) == ""
    assert user("~*").refusal([b"JSON.GET", b"doc"]) == "command"
    assert user("+@all ~* reset").refusal([b"GET", b"a"]) == "command"


def test_passwords() -> None:
    assert user("on >one >two").accepts(b"two")
    assert not user("on >one >two <two").accepts(b"two")
    assert not user("off >one").accepts(b"one")
    assert user("on nopass").accepts(b"anything")
    assert not user("on nopass resetpass").accepts(b"anything")
    assert user(f"on #{sha256(b'one').hexdigest()}").accepts(b"one")
    assert not user("on").accepts(b"")


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ("+@nonsense", "there is no category @nonsense"),
        ("+nonsense", "there is no command NONSENSE"),
        ("+config|nonsense", "there is no command CONFIG|NONSENSE"),
        ("nonsense", "'nonsense' is no rule"),
        ("(+get", "parenthesis"),
        ("(on)", "no rule for a selector"),
        ("#abc", "'#abc' is no rule"),
    ],
)
def test_what_is_no_rule(rules: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(").replace("|", r"\|")):
        user(rules)


def test_files() -> None:
    text = "# users\n\nuser default off\nuser app on >x ~app:* +@all (+get ~tmp)\n"
    default, app = read_acl_file(text, BUILT_IN)
    assert (default.name, default.enabled) == ("default", False)
    assert app.refusal([b"GET", b"tmp"]) == ""
    for wrong, problem in (
        ("usr a", "line 1: should be"),
        ("user a\nuser a", "line 2: user 'a'"),
        ("\nuser a x", "line 2: 'x'"),
    ):
        with pytest.raises(ValueError, match=problem):
            list(read_acl_file(wrong, BUILT_IN))


@needs("redis-server")
def test_files_of_the_server_are_read(redis: RedisServer) -> None:
    with redis.connect() as connection:
        connection.ask(
            "ACL", "SETUSER", "eve", "on", ">pw", "%R~a*", "~b", "&c*", "-@all", "+@read", "+client|id", "(+set ~x)"
        )
        listed = connection.ask("ACL", "LIST")
        connection.ask("ACL", "DELUSER", "eve")
    users = {one.name: one for one in read_acl_file("\n".join(line.decode() for line in listed), BUILT_IN)}
    assert users["default"].no_password
    assert users["eve"].accepts(b"pw")
    assert users["eve"].refusal([b"SET", b"x", b"1"]) == ""
