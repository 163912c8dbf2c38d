"""Who the client is: what a proxy tells the upstream of it, and whom it believes (RFC 7239, X-Forwarded-For).

What a client says of itself is worth nothing, so it is thrown away; what a trusted proxy says is passed on with one
more step. On most connections the fields that are added are always the same: one block for all requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from l4proxy.protocols.http_fields import EMPTY, Field, FieldBlock, encode_line

if TYPE_CHECKING:
    from l4proxy.networks import NetworkSet
    from l4proxy.plugins.http.message import HttpRequest

__all__ = ["Forwarding"]

CLAIMS = ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-real-ip", "forwarded")
"""What a client may not say of itself."""


class Forwarding:
    """For one connection: its peer, and the fields that say so."""

    __slots__ = ("_how", "_peer", "_scheme", "_trusted", "added")

    def __init__(self, how: str, peer: str, scheme: str, trusted: NetworkSet) -> None:
        self._how = how
        self._peer = peer
        self._scheme = scheme
        self._trusted = trusted
        self.added = self._fields(peer, scheme)

    def _fields(self, chain: str, scheme: str) -> FieldBlock:
        if self._how == "off":
            return EMPTY
        if self._how == "rfc7239":
            node = f'"[{self._peer}]"' if ":" in self._peer else self._peer or "unknown"
            return _block([("Forwarded", f"for={node};proto={scheme}")])
        return _block([("X-Forwarded-For", chain or "unknown"), ("X-Forwarded-Proto", scheme)])

    def tell(self, request: HttpRequest) -> None:
        """A request that says something itself."""
        if self._how == "off":
            return
        headers = request.headers
        if self._peer not in self._trusted:
            for name in CLAIMS:
                headers.discard(name)
            request.block = headers.block
            request._headers = None
            request.added = self.added
            return
        if self._how == "rfc7239":
            headers.append("Forwarded", self.added.fields[0][1])
            return
        scheme = request.field("x-forwarded-proto")
        if scheme is not None and (known := scheme.lower()) in ("http", "https"):
            request.scheme = known
        headers.append("X-Forwarded-For", self._peer or "unknown")
        if scheme is None:
            headers["X-Forwarded-Proto"] = self._scheme

    def client_of(self, request: HttpRequest) -> str:
        """The address of the client: of what trusted proxies say, the last one that is not itself trusted."""
        if self._peer not in self._trusted:
            return self._peer
        chain = [part.strip() for part in (request.field("x-forwarded-for") or "").split(",")]
        for address in reversed(chain):
            if address and address not in self._trusted:
                return address
        return next((address for address in chain if address), self._peer)


def _block(pairs: list[tuple[str, str]]) -> FieldBlock:
    fields: list[Field] = [(name.lower(), value) for name, value in pairs]
    return FieldBlock(fields, tuple(encode_line(name, value) for name, value in pairs))
