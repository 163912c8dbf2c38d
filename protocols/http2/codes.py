"""The numbers of HTTP/2: frame types, flags, settings, error codes (RFC 9113 sections 6, 6.5.2 and 7)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["PREFACE", "ErrorCode", "Flag", "FrameType", "Setting", "error_name"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client sends first (section 3.4), in front of its SETTINGS."""


class FrameType(IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9
    PRIORITY_UPDATE = 16  # RFC 9218 section 7.1


class Flag(IntEnum):
    """What a bit means depends on the type of the frame: ``ACK`` of SETTINGS and PING is ``END_STREAM`` elsewhere."""

    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8  # RFC 8441 section 3
    NO_RFC7540_PRIORITIES = 9  # RFC 9218 section 2.1


class ErrorCode(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def error_name(code: int) -> str:
    """As metrics and logs show a code; peers may send any number."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"0x{code:x}"
