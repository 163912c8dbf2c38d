"""A preamble: what stands in front of the real protocol is read and taken off, and may say who the client is."""

from l4proxy import NoConfig, PeekInfo, Preamble, PreambleResult, Register, hookimpl
from l4proxy.codec import RemoteProtocolError


class CallerId(Preamble[NoConfig]):
    """A first line ``FROM host``."""

    name = "caller_id"

    def read(self, peek: bytes, info: PeekInfo) -> PreambleResult | None:
        line, end, _rest = peek.partition(b"\n")
        if not end:
            return None  # more has to come
        if not line.startswith(b"FROM "):
            raise RemoteProtocolError("there is no caller's name", code="no_caller_id")
        return PreambleResult(consumed=len(line) + 1, client=(line[5:].decode(), 0))


@hookimpl
def register_preambles(register: Register[type[CallerId]]) -> None:
    register(CallerId)


def main() -> None:
    preamble = CallerId(NoConfig())
    info = PeekInfo(source=("198.51.100.1", 4711), destination=("192.0.2.1", 80))
    assert preamble.read(b"FROM ada", info) is None
    result = preamble.read(b"FROM ada.example\nhello", info)
    assert result is not None
    assert (result.consumed, result.client) == (17, ("ada.example", 0))


if __name__ == "__main__":
    main()
