"""Write ``protocols/redis/command_data.py`` from what a Redis server says of its commands.

    redis-server --port 7000 --save '' &
    python contrib/redis/write_command_table.py 127.0.0.1:7000 > protocols/redis/command_data.py

And ``valkey_command_data.py`` from what a Valkey server has beyond these: other commands, and more arguments.

    valkey-server --port 7001 --save '' &
    python contrib/redis/write_command_table.py 127.0.0.1:7001 --beyond > protocols/redis/valkey_command_data.py

A server of a later version only adds to a table: give it the newest one that there is.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

from l4proxy.protocols.redis.command_data import COMMANDS
from l4proxy.protocols.redis.values import Incomplete, decode

HEADER = '''"""Commands as a server says that they are. Written by ``contrib/redis/write_command_table.py``; not edited.

{version}. Each row: arity, flags, categories, key specifications (``keys.py`` says how they read), tips, since.
"""

from __future__ import annotations

# ruff: noqa: E501
# fmt: off

__all__ = ["{table}"]

{table}: dict[str, tuple[int, str, str, str, str, str]] = {{'''


def main(address: str, *options: str) -> int:
    beyond = options == ("--beyond",)
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as server:
        info, commands, docs = (ask(server, words) for words in (b"INFO server", b"COMMAND", b"COMMAND DOCS"))
    about = dict(line.split(":", 1) for line in info.decode().split("\r\n") if ":" in line)
    server_name = about.get("server_name", "redis")
    version = f"{server_name.capitalize()} {about[f'{server_name}_version']}"
    since = {name.decode().upper(): text for name, text in versions(docs)}
    print(HEADER.format(version=version, table="BEYOND" if beyond else "COMMANDS"))
    for name, row in sorted(row for command in commands for row in rows(command)):
        if not (beyond and name in COMMANDS and COMMANDS[name][0] == row[0]):
            values = [str(row[0]), *map(quoted, row[1:]), quoted(since.get(name, ""))]
            print(f"    {quoted(name)}: ({', '.join(values)}),")
    print("}")
    return 0


def ask(server: socket.socket, command: bytes) -> Any:
    server.sendall(command + b"\r\n")
    received = b""
    while True:
        try:
            return decode(received)[0]
        except Incomplete:
            received += server.recv(1 << 20)


def rows(command: list[Any]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    name, arity, flags, _first, _last, _step, categories, tips, specs, subcommands = command
    row = (
        arity,
        words(flags),
        words(categories).replace("@", ""),
        ";".join(key_spec(as_dict(spec)) for spec in specs),
        words(tips),
    )
    yield name.decode().upper(), row
    for subcommand in subcommands:
        yield from rows(subcommand)


def key_spec(spec: dict[str, Any]) -> str:
    begin, find = as_dict(spec["begin_search"]), as_dict(spec["find_keys"])
    where, how = as_dict(begin["spec"]), as_dict(find["spec"])
    at = {"index": "{index}", "keyword": "{keyword}@{startfrom}", "unknown": "1"}[begin["type"]].format(**where)
    order = {"range": ("lastkey", "keystep", "limit"), "keynum": ("keynumidx", "firstkey", "keystep"), "unknown": ()}
    numbers = [how[key] for key in order[find["type"]]] or [0, 1, 0]
    return " ".join([at, find["type"], *map(str, numbers), words(spec["flags"])])


def versions(docs: list[Any]) -> Iterator[tuple[bytes, str]]:
    for name, about in zip(docs[::2], docs[1::2], strict=True):
        told = as_dict(about)
        yield name, told.get("since", "")
        yield from versions(told.get("subcommands", []))


def as_dict(pairs: list[Any]) -> dict[str, Any]:
    found = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        found[key.decode()] = value.decode() if isinstance(value, bytes) else value
    return found


def words(items: list[bytes]) -> str:
    return " ".join(sorted(item.decode() for item in items))


def quoted(text: str) -> str:
    return f'"{text}"'


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
