"""Commands and replies cut from what one side sends, byte for byte, for recordings."""

from __future__ import annotations

from collections.abc import Callable

from l4proxy.protocols.redis.reply import ReplyScanner

__all__ = ["cut_frames"]


def cut_frames() -> Callable[[bytes], list[bytes]]:
    """Return a function that takes chunks, and returns the whole frames that each of them completes. A command is an
    array, as a reply may be; inline commands are lines. It raises RemoteProtocolError where there is neither."""
    scanner = ReplyScanner()
    rest = bytearray()

    def cut(data: bytes) -> list[bytes]:
        rest.extend(data)
        frames: list[bytes] = []
        at = 0
        while at < len(rest):
            inline = rest[at] not in b"+-:$*_,#(!=%~>|"
            end = rest.find(b"\n", at) + 1 if inline else scanner.end(rest, at)
            if end <= 0:
                break
            frames.append(bytes(rest[at:end]))
            at = end
        scanner.errors.clear()
        del rest[:at]
        return frames

    return cut
