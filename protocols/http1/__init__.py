"""HTTP/1.0 and 1.1 (RFC 9110, RFC 9112) for a proxy: strict in what it takes, verbatim in what it passes on."""

from l4proxy.protocols.http1.codec import ClientCodec, ServerCodec
from l4proxy.protocols.http1.events import Data, End, RequestHead, ResponseHead
from l4proxy.protocols.http1.limits import Limits

__all__ = ["ClientCodec", "Data", "End", "Limits", "RequestHead", "ResponseHead", "ServerCodec"]
