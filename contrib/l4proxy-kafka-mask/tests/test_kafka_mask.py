"""The filter between a client and a broker of a test, which speak Kafka through an l4proxy that has found it."""

import asyncio
import struct
from typing import Any

from l4proxy.protocols.crc32c import crc32c
from l4proxy.protocols.kafka import plain
from l4proxy.protocols.kafka.apis import BY_NAME
from l4proxy.protocols.kafka.batches import batches
from l4proxy.protocols.kafka.records import records
from l4proxy.protocols.kafka.wire import encode_varint
from l4proxy.server import serve

FETCH, VERSION = BY_NAME["Fetch"], 11
UNKNOWN = 5


def batch(*values: bytes, codec: int = 0) -> bytes:
    content = b""
    for at, value in enumerate(values):
        body = b"\0\0" + encode_varint(at) + encode_varint(-1) + encode_varint(len(value)) + value + b"\0"
        content += encode_varint(len(body)) + body
    tail = struct.pack(">hiqqqhii", codec, len(values) - 1, 0, 0, -1, -1, -1, len(values)) + content
    return struct.pack(">qiibI", 5, len(tail) + 9, 0, 2, crc32c(tail)) + tail


def fetched(**topics: bytes) -> dict[str, tuple[int, list[bytes | None]]]:
    """What a client reads of these topics: their errors, and the values."""

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = await reader.readexactly(4)
        request = await reader.readexactly(int.from_bytes(size, "big"))
        responses = [
            {"topic": name, "partitions": [{"partition_index": 0, "records": data}]} for name, data in topics.items()
        ]
        body = request[4:8] + plain.encode(FETCH.response, VERSION, {"responses": responses})
        writer.write(struct.pack(">i", len(body)) + body)
        await writer.drain()

    async def main() -> dict[str, Any]:
        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        mask = {"use": "mask", "topics": ["customers*"], "fields": ["name"]}
        use = {"use": "kafka_proxy", "cluster": "kafka", "filters": [mask]}
        config = {
            "listeners": [{"name": "kafka", "address": "127.0.0.1:0", "filters": [use]}],
            "clusters": [{"name": "kafka", "endpoints": [f"127.0.0.1:{port}"]}],
            "drain_time": 0,
        }
        async with server, serve(config) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.addresses["kafka"][0].port)
            request = struct.pack(">hhih", FETCH.key, VERSION, 7, -1) + plain.encode(FETCH.request, VERSION, {})
            writer.write(struct.pack(">i", len(request)) + request)
            size = int.from_bytes(await reader.readexactly(4), "big")
            answer = await reader.readexactly(size)
            writer.close()
            return plain.decode(FETCH.response, VERSION, answer, 4)

    read = {}
    for topic in asyncio.run(main())["responses"]:
        (partition,) = topic["partitions"]
        data = partition["records"] or b""
        values = []
        for one in batches(data, 0, len(data)):
            assert int.from_bytes(data[one.at + 17 : one.at + 21], "big") == crc32c(
                data[one.at + 21 : one.at + one.size]
            )
            values += [record.value for record in records(data, one)]
        read[topic["topic"]] = (partition["error_code"], values)
    return read


def test_consumers_do_not_see_what_is_masked() -> None:
    values = [b'{"name": "Ada", "id": 1}', b"no json", b'{"id": 2}']
    read = fetched(customers=batch(*values), customers2=batch(b"x", codec=UNKNOWN), others=batch(*values))
    assert read == {
        "customers": (0, [b'{"name": "***", "id": 1}', b"null   ", b'{"id": 2}']),
        "customers2": (-1, []),
        "others": (0, values),
    }
