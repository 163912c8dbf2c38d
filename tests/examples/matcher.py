"""A matcher: a condition that decides by a connection's first bytes which filter chain it gets."""

import asyncio
import sys

from l4proxy import Address, Matcher, PeekInfo, PluginManager, Register, hookimpl, serve


class Polite(Matcher[bool]):
    """The client begins with ``please``."""

    name = "polite"

    def match(self, peek: bytes, info: PeekInfo) -> bool | None:
        if len(peek) < 6 and b"please".startswith(peek):
            return None  # more has to come
        found = peek.startswith(b"please")
        if found:
            info.protocol = "polite"  # access logs print it
        return found is self.config


@hookimpl
def register_matchers(register: Register[type[Polite]]) -> None:
    register(Polite)


CONFIG = {
    "listeners": [
        {
            "name": "a",
            "address": "127.0.0.1:0",
            "filter_chains": [{"match": {"polite": True, "source": ["127.0.0.0/8"]}, "filters": ["echo"]}],
        }
    ]
}


async def talk(address: Address, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(text)
    writer.write_eof()
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def run() -> None:
    plugins = PluginManager()
    plugins.register(sys.modules[__name__], "polite")
    async with serve(CONFIG, plugins=plugins) as server:
        (address,) = server.addresses["a"]
        assert await talk(address, b"please, hello") == b"please, hello"
        assert await talk(address, b"hello") == b""  # no chain takes it


def main() -> None:
    info = PeekInfo(source=("198.51.100.1", 4711), destination=("192.0.2.1", 80))
    assert [Polite(True).match(peek, info) for peek in (b"", b"ple", b"please", b"now!")] == [None, None, True, False]
    asyncio.run(run())


if __name__ == "__main__":
    main()
