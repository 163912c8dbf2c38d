"""HTTP/2 and HPACK (RFC 9113, RFC 7541), without IO. ``connection`` is where to start."""

from __future__ import annotations

from l4proxy.protocols.http2.codes import PREFACE, ErrorCode, FrameType, Setting, error_name
from l4proxy.protocols.http2.connection import Http2Connection, Http2Error
from l4proxy.protocols.http2.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    InformationalReceived,
    PingAcked,
    RequestReceived,
    ResponseReceived,
    SettingsChanged,
    StreamRefused,
    StreamReset,
    TrailersReceived,
)
from l4proxy.protocols.http2.fields import NeverIndexed, RequestHead, ResponseHead
from l4proxy.protocols.http2.limits import Allowances, Limits
from l4proxy.protocols.http2.stream import Http2Stream

__all__ = [
    "PREFACE",
    "Allowances",
    "DataReceived",
    "ErrorCode",
    "Event",
    "FrameType",
    "GoAwayReceived",
    "Http2Connection",
    "Http2Error",
    "Http2Stream",
    "InformationalReceived",
    "Limits",
    "NeverIndexed",
    "PingAcked",
    "RequestHead",
    "RequestReceived",
    "ResponseHead",
    "ResponseReceived",
    "Setting",
    "SettingsChanged",
    "StreamRefused",
    "StreamReset",
    "TrailersReceived",
    "error_name",
]
