"""The page of the tables that filters have."""

from __future__ import annotations

import asyncio

from admin_client import HOST, administered
from clusters import run
from l4proxy.protocols.redis.request import encode_command

REDIS = {"listeners": [{"name": "a", "address": "127.0.0.1:0", "filters": ["redis", "echo"]},
                       {"name": "b", "address": "127.0.0.1:0", "filters": ["redis", "echo"]}]}  # fmt: skip


def test_tables() -> None:
    async def main() -> None:
        async with administered(REDIS) as admins:
            address = admins.server.addresses["a"][0]
            reader, writer = await asyncio.open_connection(HOST, address.port)
            command = encode_command(b"GET", b"user:1")
            for _ in range(3):
                writer.write(command)
                await reader.readexactly(len(command))  # to the filter, a reply
            writer.close()
            text = (await admins.get("/tables?table=commands")).text
            # The uses share what they know, so that there is one table.
            assert text.splitlines()[0] == "redis: commands (1 of 1)"
            assert text.splitlines()[1].split() == ["command", "commands", "errors", "p50", "p99", "in", "out"]
            assert text.splitlines()[2].split()[:3] == ["GET", "3", "0"]
            everything = (await admins.get("/tables?filter=redis&format=json")).data["tables"]
            assert [one["table"] for one in everything][:3] == ["commands", "hot keys", "big keys"]
            hot = (await admins.get("/tables?table=hot+keys&format=json&limit=1")).data["tables"]
            assert hot[0]["rows"][0][:2] == ["user:1", 3]
            assert (await admins.get("/tables?filter=nobody&format=json")).data["tables"] == []
            assert (await admins.get("/tables?limit=x")).status == 400

    run(main)
