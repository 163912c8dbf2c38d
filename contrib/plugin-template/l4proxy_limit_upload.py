"""Close connections whose client sends too much."""

from __future__ import annotations

from dataclasses import dataclass

from l4proxy import Filter, Register, hookimpl
from l4proxy.config.types import Size

ONE_MEBIBYTE = Size(1024 * 1024)


@dataclass(frozen=True, slots=True)
class LimitUploadConfig:
    """The options: what may stand beside `use = "limit_upload"`. They are checked when the configuration is loaded."""

    max_bytes: Size = ONE_MEBIBYTE
    """How much a client may send on one connection."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1:
            raise ValueError("max_bytes: must be at least 1")


class LimitUpload(Filter[LimitUploadConfig]):
    """Close connections whose client sends too much."""

    name = "limit_upload"
    status = "alpha"

    def on_connect(self) -> None:
        self.received = 0

    def on_client_data(self, data: bytes) -> bytes | None:
        room = self.config.max_bytes - self.received
        self.received += len(data)
        if len(data) <= room:
            return data
        self.conn.log.info("more than %d bytes from %s", self.config.max_bytes, self.conn.client)
        self.conn.send_upstream(data[:room])  # the same bytes pass, however they are cut into chunks
        self.conn.close("too_much_sent")
        return None


@hookimpl
def register_filters(register: Register[type[LimitUpload]]) -> None:
    register(LimitUpload)
