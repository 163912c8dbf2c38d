"""Which format does a capture file have? Its first bytes say it."""

from __future__ import annotations

from collections.abc import Iterator

from l4proxy.protocols.capture.pcap import MAGICS, CaptureError, Packet, PcapReader
from l4proxy.protocols.capture.pcapng import SECTION_HEADER, PcapngReader

__all__ = ["CaptureReader"]


class CaptureReader:
    """Reads a capture as it comes in, pcap or pcapng."""

    def __init__(self) -> None:
        self._reader: PcapReader | PcapngReader | None = None
        self._beginning = b""

    @property
    def dropped(self) -> int:
        """Packets that the capture lost, as the file says; pcap cannot say it."""
        return self._reader.dropped if self._reader else 0

    @property
    def unfinished(self) -> int:
        """Bytes that are there of a packet, or of a beginning, that is not whole."""
        return self._reader.unfinished if self._reader else len(self._beginning)

    def feed(self, data: bytes) -> Iterator[Packet]:
        """Take the next bytes, return the packets that they complete. To be gone through to the end, before the next
        call. Raises CaptureError where this is no capture."""
        if self._reader is None:
            self._beginning += data
            if len(self._beginning) < 4:
                return iter(())
            data, self._beginning = self._beginning, b""
            self._reader = _reader_for(data[:4])
        return self._reader.feed(data)


def _reader_for(magic: bytes) -> PcapReader | PcapngReader:
    if magic in MAGICS:
        return PcapReader()
    if magic == SECTION_HEADER:
        return PcapngReader()
    raise CaptureError(f"this is no capture: it begins with {magic.hex()}, and neither pcap nor pcapng does")
